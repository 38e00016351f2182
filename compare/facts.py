"""What two recorded computations must have in common to be held to each other, and what of it differs."""

from collections.abc import Collection, Mapping
from typing import Any

from nst_spec.recipe import by_key

IDENTITY = ("name", "source", "note", "weights", "preprocessing", "stages", "adapted", "init.file")
"""Keys of a recipe that change no number: names, or what a record says elsewhere (weights, pixel space, inputs)."""


def recipe_facts(recipe: Mapping[str, Any], besides: Collection[str] = ()) -> dict[str, str]:
    """Return every setting of a recorded recipe that changes a number, by its key as a reader is told it.

    `besides` are keys, of settings or of whole sections, that make no difference to what is compared.
    """
    return {
        f"recipe {key}": str(value)
        for key, value in by_key(recipe)
        if not {key, key.partition(".")[0]}.intersection((*IDENTITY, *besides))
    }


def differing(ours: Mapping[str, object], theirs: Mapping[str, object]) -> str:
    """Return every fact that differs, with both values, for a message; nothing where all are equal."""
    return "; ".join(
        f"{fact} ({ours.get(fact, 'none')} against {theirs.get(fact, 'none')})"
        for fact in {**ours, **theirs}
        if ours.get(fact) != theirs.get(fact)
    )
