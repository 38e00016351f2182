"""What two recorded computations must have in common to be held to each other, and what of it differs."""

from collections.abc import Iterator, Mapping
from typing import Any

IDENTITY = ("name", "source", "note", "weights", "preprocessing", "stages", "adapted", "init.file")
"""Keys of a recipe that change no number: names, or what a record says elsewhere (weights, pixel space, inputs)."""


def recipe_facts(recipe: Mapping[str, Any]) -> dict[str, str]:
    """Return every setting of a recorded recipe that changes a number, by its key as a reader is told it."""
    return {f"recipe {key}": str(value) for key, value in _flat(recipe) if key not in IDENTITY}


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, dict) and key not in IDENTITY:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differing(ours: Mapping[str, object], theirs: Mapping[str, object]) -> str:
    """Return every fact that differs, with both values, for a message; nothing where all are equal."""
    return "; ".join(
        f"{fact} ({ours.get(fact, 'none')} against {theirs.get(fact, 'none')})"
        for fact in {**ours, **theirs}
        if ours.get(fact) != theirs.get(fact)
    )
