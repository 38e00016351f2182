"""The Python API: `stylize` makes a picture, `evaluate` judges one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import nst
from nst.options import to_settings
from nst_spec import backend as backends
from nst_spec import images, recipe, run, weights
from nst_spec.backend import Evaluation
from nst_spec.errors import NstError
from nst_spec.recipe import Recipe
from nst_spec.run import Inputs, OnStep, Progress

__all__ = ["Judgement", "NstError", "Progress", "Result", "evaluate", "prepare", "stylize"]

DEFAULT_RECIPE = "default"
DEFAULT_DTYPE = "float32"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Result:
    """A finished run.

    `image` is (H, W, 3), RGB, [0, 1] unless the recipe never clamps; `losses` one entry a step; `record` what
    repeats the run; `stopped` why it ended early, or None.
    """

    image: NDArray[np.floating]
    losses: tuple[backends.Losses, ...]
    record: Mapping[str, Any]
    stopped: str | None

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write the picture with its record and return the path; an existing file is replaced only with `force`."""
        images.write(Path(path), self.image, self.record, force=force)
        return Path(path)

    def to_pil(self) -> Image.Image:
        """Return the picture as an 8-bit PIL image."""
        return Image.fromarray(images.to_uint8(self.image))


@dataclass(frozen=True)
class Judgement:
    """An image judged by a recipe, before any step: the evaluation, and what was evaluated."""

    evaluation: Evaluation
    recipe: Recipe
    record: Mapping[str, Any]
    width: int
    height: int


@dataclass(frozen=True)
class Prepared:
    """Everything resolved that a run or an evaluation needs."""

    backend: backends.Backend
    recipe: Recipe
    inputs: Inputs

    def record(self) -> dict[str, Any]:
        """Return what repeats this run: names and hashes of the inputs, never folders."""
        resolved = self.recipe.model_dump(mode="json")
        if resolved["init"]["file"]:
            resolved["init"]["file"] = Path(resolved["init"]["file"]).name
        inputs = {"content": self.inputs.content, "style": self.inputs.style, "start": self.inputs.start}
        return {
            "nst": nst.__version__,
            "backend": {
                "name": self.backend.name,
                "device": self.backend.device,
                "dtype": self.backend.dtype,
                "versions": self.backend.versions() | {"numpy": np.__version__},
            },
            "recipe": resolved,
            "weights": {
                "name": Path(self.inputs.weights.name).name,
                "sha256": self.inputs.weights.sha256,
                "preprocessing": self.inputs.preprocessing,
            },
            "inputs": {
                role: {"name": picture.name, "sha256": picture.sha256} for role, picture in inputs.items() if picture
            },
        }


def prepare(
    content: images.Source,
    style: images.Source,
    *,
    backend: str | None = None,
    recipe_name: str | Path | Recipe = DEFAULT_RECIPE,
    settings: Mapping[str, Any] | None = None,
    weights_name: str | None = None,
    device: str = "auto",
    dtype: str = DEFAULT_DTYPE,
    threads: int | None = None,
    offline: bool = False,
    allow_large: bool = False,
    say: Say | None = None,
) -> Prepared:
    """Return the backend, the resolved recipe and the inputs, cheapest checks first.

    Raises NstError for whatever is wrong with any of them.
    """
    tell: dict[str, Any] = {} if say is None else {"say": say}
    warn: dict[str, Any] = {} if say is None else {"warn": say}
    base = recipe_name if isinstance(recipe_name, Recipe) else recipe.load(recipe_name)
    settings = dict(settings or {})
    # The recipe goes on naming its own set: a set without a preprocessing takes that one's.
    chosen_weights = weights_name or settings.pop("weights", None) or base.weights
    # Whatever can be wrong is checked before weights are fetched; what they change comes after.
    resolved = recipe.override(base, settings)
    content_picture = images.read(content, allow_large=allow_large, **warn)
    style_picture = images.read(style, allow_large=allow_large, **warn)
    start = None
    if resolved.init.kind == "file" and resolved.init.file:
        start = images.read(resolved.init.file, allow_large=allow_large, **warn)
    run.plan(resolved, content_picture, style_picture)
    loaded_backend = backends.load(backend, device=device, dtype=dtype, threads=threads)
    weight_set = weights.load(chosen_weights, offline=offline, **tell)
    resolved = recipe.override(recipe.adapted_to(base, weight_set.name), settings)
    run.check_weights(resolved, weight_set)
    space = weights.preprocessing_for(resolved.preprocessing, resolved.weights, weight_set)
    return Prepared(loaded_backend, resolved, Inputs(content_picture, style_picture, weight_set, space, start))


def stylize(
    content: images.Source,
    style: images.Source,
    backend: str | None = None,
    recipe: str | Path | Recipe = DEFAULT_RECIPE,
    on_step: OnStep | None = None,
    *,
    weights: str | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    dtype: str = DEFAULT_DTYPE,
    threads: int | None = None,
    offline: bool = False,
    allow_large: bool = False,
    say: Say | None = None,
    **overrides: Any,
) -> Result:
    """Paint the content image in the style of the style image.

    `content`, `style`: a path, a PIL image, or an array (H, W, 3), uint8 or floating in [0, 1].
    `backend`: "torch", "tf" or "reference"; None is torch if it is installed, else tf.
    `recipe`: a name (`nst recipes`), a TOML file, or a Recipe.
    `on_step`: called with a Progress after every step; the run ends if it returns True.
    `weights`: a weight set's name or file instead of the recipe's; `device`: auto, cpu, cuda or mps;
    `dtype`: float32 or float64; `threads`: CPU threads; `offline`: never download; `allow_large`: accept images
    over 300 megapixels; `say`: receives messages (stderr by default).
    `overrides`: the command line's options by name, for example size=256, steps=100, strength=0.7;
    `settings`: any other recipe key, for example {"optimizer.beta1": 0.95}.

    Raises NstError for whatever a user can mend, in one sentence.
    """
    prepared = prepare(
        content,
        style,
        backend=backend,
        recipe_name=recipe,
        settings={**(settings or {}), **to_settings(overrides)},
        weights_name=weights,
        device=device,
        dtype=dtype,
        threads=threads,
        offline=offline,
        allow_large=allow_large,
        say=say,
    )
    return stylize_prepared(prepared, on_step)


def stylize_prepared(prepared: Prepared, on_step: OnStep | None = None) -> Result:
    """Run what `prepare` returned."""
    outcome = run.run(prepared.backend, prepared.recipe, prepared.inputs, on_step)
    history = [
        {"total": step.total, "content": step.content, "style": step.style, "tv": step.tv} for step in outcome.losses
    ]
    height, width = outcome.image.shape[:2]
    record = prepared.record() | {
        "width": width,
        "height": height,
        "losses": history,
        "stopped": outcome.stopped,
    }
    return Result(outcome.image, outcome.losses, record, outcome.stopped)


def evaluate(prepared: Prepared, image: images.Source | None = None, *, allow_large: bool = False) -> Judgement:
    """Judge an image by a recipe, at the recipe's finest size and before any step.

    `image` of the run's own size is used pixel by pixel, another is resized; None is the recipe's initial image.

    Raises NstError when the image cannot be read.
    """
    finest = run.plan(prepared.recipe, prepared.inputs.content, prepared.inputs.style)[-1]
    problem = run.problem_at(finest, prepared.recipe, prepared.inputs, prepared.backend.dtype)
    width, height = finest.content_size
    if image is None:
        pixels = run.initial_image(prepared.recipe, prepared.inputs, problem)
    else:
        pixels = images.fitted(images.read(image, allow_large=allow_large).pixels, width, height)
    evaluation = prepared.backend.objective(problem).evaluate(pixels.astype(prepared.backend.dtype))
    return Judgement(evaluation, prepared.recipe, prepared.record(), width, height)
