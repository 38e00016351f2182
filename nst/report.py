"""Evaluations, recipes and weight sets as text and as JSON."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nst.api import Judgement
from nst_spec import files, weights
from nst_spec.backend import TERMS, Evaluation, finite_or_none
from nst_spec.errors import NstError, reason
from nst_spec.recipe import Recipe, by_key

WEIGHTS = dict(zip(TERMS, ("alpha", "beta", "tv.weight"), strict=True))
"""The recipe's key that weighs each loss in the total."""


def as_dict(judgement: Judgement) -> dict[str, Any]:
    """Return the evaluation as `nst evaluate --json` prints it; null stands for what is not finite.

    A term of `terms` has its tap's weight in it; the total is the sum of content, style and tv times their `factors`.
    """
    losses, gradient = judgement.evaluation.losses, judgement.evaluation.gradient.astype(np.float64)
    record = judgement.record
    return {
        "backend": record["backend"]["name"],
        "recipe": judgement.recipe.name,
        "weights": record["weights"]["name"],
        "preprocessing": record["weights"]["preprocessing"],
        "width": judgement.width,
        "height": judgement.height,
        "dtype": record["backend"]["dtype"],
        "terms": {
            "content": {tap: finite_or_none(value) for tap, value in losses.content_terms.items()},
            "style": {tap: finite_or_none(value) for tap, value in losses.style_terms.items()},
        },
        **losses.as_record(),
        "factors": dict(zip(TERMS, judgement.recipe.term_weights, strict=True)),
        "gradient": {
            "l2": finite_or_none(float(np.linalg.norm(gradient))),
            "max": finite_or_none(float(np.abs(gradient).max())),
        },
    }


def as_text(judgement: Judgement) -> str:
    """Return the evaluation as a table."""
    found = as_dict(judgement)
    # The oracle's dtype is that of its images alone.
    arithmetic = judgement.record["backend"]["switches"].get("arithmetic")
    computed = f" computed in {arithmetic}" if arithmetic else ""
    lines = [
        f"{found['recipe']}: {found['backend']} {found['dtype']}{computed}, weights {found['weights']} "
        f"({found['preprocessing']}), {found['width']} x {found['height']} px"
    ]
    for kind, section in (("content", judgement.recipe.content), ("style", judgement.recipe.style)):
        for tap, value in found["terms"][kind].items():
            lines.append(f"  {kind:8} {tap:8} {_number(value)}  (with its weight {section.taps[tap]:g})")
    for (name, key), weight in zip(WEIGHTS.items(), judgement.recipe.term_weights, strict=True):
        lines.append(f"{name:8} {_number(found[name])}  ({key} {weight:g})")
    lines.append(f"total    {_number(found['total'])}")
    lines.append(f"gradient l2 {_number(found['gradient']['l2'])}, max {_number(found['gradient']['max'])}")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.9g}"


def save_arrays(path: Path, evaluation: Evaluation) -> None:
    """Write `gram/TAP`, `target/TAP` and `gradient` (H, W, 3) to an .npz file.

    Raises NstError when the file cannot be written.
    """
    arrays = {f"gram/{tap}": gram for tap, gram in evaluation.grams.items()}
    arrays |= {f"target/{tap}": target for tap, target in evaluation.targets.items()}
    try:
        with files.whole(path) as part, part.open("wb") as file:
            np.savez(file, **arrays, gradient=evaluation.gradient)  # type: ignore[arg-type]
    except OSError as error:
        raise NstError(f"{path}: {reason(error)}") from error


def recipe_as_text(recipe: Recipe) -> str:
    """Return a recipe's prose, and a line a value."""
    values = recipe.model_dump(exclude={"name", "source", "note"})
    return "\n".join([f"{recipe.name}: {recipe.source}", "", *recipe.note.strip().splitlines(), "", *_lines(values)])


def record_as_text(record: Mapping[str, Any]) -> str:
    """Return a picture's record, a line a value; of the losses the last step's, of the recipe all but its prose."""
    losses, recipe = record.get("losses"), record.get("recipe")
    shown = dict(record)
    if isinstance(losses, list):
        del shown["losses"]
        last = losses[-1] if losses else None
        if isinstance(last, dict):
            weighed = {name: f"{name} (times recipe.{key})" for name, key in WEIGHTS.items()}
            last = {weighed.get(name, name): value for name, value in last.items()}
        shown["losses of the last step"] = last
    if isinstance(recipe, dict):
        shown["recipe"] = {key: value for key, value in recipe.items() if key != "note"}
    return "\n".join(_lines(shown))


def _lines(values: Mapping[str, Any]) -> list[str]:
    lines = (f"{key} = {_plain(value)}" for key, value in by_key(values))
    # A foreign picture's record may hold what moves a terminal's cursor or sets its title.
    return ["".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in line) for line in lines]


def _plain(value: Any) -> str:
    if value in (None, (), [], {}):
        return "-"
    if isinstance(value, dict):
        return ", ".join(f"{key}={_plain(item)}" for key, item in value.items() if item is not None)
    if isinstance(value, list | tuple):
        return "; ".join(map(_plain, value))
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def weights_as_list() -> list[dict[str, Any]]:
    """Return every weight set with its facts and where it is cached, if it is."""
    return [
        {
            "name": name,
            "summary": info.summary,
            "bytes": info.size,
            "licence": info.licence,
            "attribution": info.attribution,
            "preprocessing": info.preprocessing,
            "url": info.url,
            "cached": str(found) if (found := weights.path(name)) else None,
        }
        for name, info in weights.SETS.items()
    ]


def weights_as_text() -> str:
    """Return every weight set as a short paragraph."""
    paragraphs = []
    for entry in weights_as_list():
        size = f"{entry['bytes'] / 1e6:.0f} MB" if entry["bytes"] else "no file"
        state = weights.whereabouts(entry["name"])
        paragraphs.append(
            f"{entry['name']} ({size}, {state}): {entry['summary']}\n"
            f"  licence: {entry['licence']}; {entry['attribution']}"
        )
    return "\n".join(paragraphs)
