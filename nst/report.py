"""Evaluations, recipes and weight sets as text and as JSON."""

from pathlib import Path
from typing import Any

import numpy as np

from nst.api import Judgement
from nst_spec import weights
from nst_spec.backend import Evaluation
from nst_spec.errors import NstError
from nst_spec.recipe import Recipe


def as_dict(judgement: Judgement) -> dict[str, Any]:
    """Return the evaluation as `nst evaluate --json` prints it."""
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
        "terms": {"content": dict(losses.content_terms), "style": dict(losses.style_terms)},
        "content": losses.content,
        "style": losses.style,
        "tv": losses.tv,
        "total": losses.total,
        "gradient": {"l2": float(np.linalg.norm(gradient)), "max": float(np.abs(gradient).max())},
    }


def as_text(judgement: Judgement) -> str:
    """Return the evaluation as a table."""
    found = as_dict(judgement)
    lines = [
        f"{found['recipe']}: {found['backend']} {found['dtype']}, weights {found['weights']} "
        f"({found['preprocessing']}), {found['width']} x {found['height']} px"
    ]
    for kind in ("content", "style"):
        lines += [f"  {kind:8} {tap:8} {value:.9g}" for tap, value in found["terms"][kind].items()]
    alpha, beta, tv_weight = judgement.recipe.term_weights
    lines += [
        f"content  {found['content']:.9g}  (alpha {alpha:g})",
        f"style    {found['style']:.9g}  (beta {beta:g})",
        f"tv       {found['tv']:.9g}  (weight {tv_weight:g})",
        f"total    {found['total']:.9g}",
        f"gradient l2 {found['gradient']['l2']:.9g}, max {found['gradient']['max']:.9g}",
    ]
    return "\n".join(lines)


def save_arrays(path: Path, evaluation: Evaluation) -> None:
    """Write `gram/TAP`, `target/TAP` and `gradient` (H, W, 3) to an .npz file.

    Raises NstError when the file cannot be written.
    """
    arrays = {f"gram/{tap}": gram for tap, gram in evaluation.grams.items()}
    arrays |= {f"target/{tap}": target for tap, target in evaluation.targets.items()}
    try:
        with path.open("wb") as file:
            np.savez(file, **arrays, gradient=evaluation.gradient)  # type: ignore[arg-type]
    except OSError as error:
        raise NstError(f"{path}: {error.strerror}") from error


def recipe_as_text(recipe: Recipe) -> str:
    """Return a recipe with every value, a section a paragraph."""
    sections = recipe.model_dump()
    lines = [f"{recipe.name}: {recipe.source}", "", *sections["note"].strip().splitlines(), ""]
    for key, value in sections.items():
        if key in ("name", "source", "note"):
            continue
        if isinstance(value, dict):
            lines += [f"{key}.{inner} = {_plain(item)}" for inner, item in value.items()]
        else:
            lines.append(f"{key} = {_plain(value)}")
    return "\n".join(lines)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={_plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(map(_plain, value))
    if value is None:
        return "-"
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


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
        size = f"{entry['bytes'] / 1e6:.0f} MB" if entry["bytes"] else "no download"
        state = "in the cache" if entry["cached"] else "not fetched" if entry["url"] else "always there"
        paragraphs.append(
            f"{entry['name']} ({size}, {state}): {entry['summary']}\n"
            f"  licence: {entry['licence']}; {entry['attribution']}"
        )
    return "\n".join(paragraphs)
