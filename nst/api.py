"""The Python API: `stylize` makes a picture, `evaluate` judges one."""

import dataclasses
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Unpack

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import nst
from nst.keywords import Keywords, RecipeKeywords
from nst.options import to_settings
from nst_spec import backend as backends
from nst_spec import heap, images, run, scales
from nst_spec import recipe as recipes
from nst_spec import weights as weight_sets
from nst_spec.backend import Evaluation
from nst_spec.errors import NstError, not_accepted
from nst_spec.inputs import Inputs, check_weights
from nst_spec.messages import Say, to_stderr
from nst_spec.recipe import Recipe
from nst_spec.run import OnStep, Progress
from nst_spec.settings import AUTO, Settings
from nst_spec.tiles import Tile

__all__ = ["Judgement", "NstError", "Prepared", "Progress", "Result", "evaluate", "paint", "prepare", "stylize"]

DEFAULT_RECIPE = "default"
DEFAULT_BITS: Final = 8
PAINTING: Mapping[str, Any] = {"precision": AUTO, "fast": True}
"""How a picture is made unless it is asked for otherwise; whatever judges numbers keeps to `prepare`'s own defaults."""

Styles = images.Source | Sequence[images.Source]
"""A style image, or several."""

IN_MEMORY = "image"
"""What a recipe calls an initial image that came from no file."""


@dataclass(frozen=True, repr=False)
class Result:
    """A finished run.

    `image` is (H, W, 3), RGB, [0, 1] unless the recipe never clamps; `losses` one entry a step; `record` what
    repeats the run; `stopped` why it ended early, or None.
    """

    image: NDArray[np.floating]
    losses: tuple[backends.Losses, ...]
    record: Mapping[str, Any]
    stopped: str | None

    def save(self, path: str | Path, *, bits: int = DEFAULT_BITS, force: bool = False) -> Path:
        """Write the picture with its record and return the path.

        `bits` a channel may be 16 in a PNG or TIFF. A TIFF of more than 100 megapixels is tiled and gets a preview
        beside it, `OUT-preview.jpg`. An existing file is replaced only with `force`.
        """
        images.write(Path(path), self.image, {**self.record, "bits": bits}, bits=bits, force=force)
        return Path(path)

    def to_pil(self) -> Image.Image:
        """Return the picture as an 8-bit PIL image."""
        return Image.fromarray(images.to_uint8(self.image))

    def __repr__(self) -> str:
        """Return one line."""
        height, width = self.image.shape[:2]
        return f"<nst.Result: {width} x {height} px, {len(self.losses)} steps>"

    def _repr_png_(self) -> bytes:
        """Return what a notebook shows."""
        shown = io.BytesIO()
        self.to_pil().save(shown, "PNG")
        return shown.getvalue()


@dataclass(frozen=True, repr=False)
class Judgement:
    """An image judged by a recipe, before any step.

    `evaluation` has losses, gradient (H, W, 3), Gram matrices and their targets; `record` says what was evaluated, from
    `inputs`. The gradient is that of the whole canvas, the recipe's margin included.
    """

    evaluation: Evaluation
    recipe: Recipe
    inputs: Inputs
    record: Mapping[str, Any]
    width: int
    height: int

    def __repr__(self) -> str:
        """Return one line."""
        return f"<nst.Judgement: {self.width} x {self.height} px, loss {self.evaluation.losses.total:.9g}>"


@dataclass(frozen=True)
class Prepared:
    """Everything resolved that a run or an evaluation needs."""

    backend: backends.Backend
    recipe: Recipe
    inputs: Inputs
    say: Say
    warn: Say

    @property
    def finest(self) -> scales.SizedScale:
        """The last scale, whose size the picture has."""
        return scales.sized_scales(self.recipe, self.inputs.content, *self.inputs.styles)[-1]

    def record(self) -> dict[str, Any]:
        """Return what repeats this run: names and hashes of the inputs, never folders."""
        return {
            "nst": nst.__version__,
            "backend": {
                "name": self.backend.name,
                "device": self.backend.device,
                "dtype": self.backend.dtype,
                "precision": self.backend.precision,
                "fast": self.backend.fast,
                "switches": self.backend.switches(),
                "versions": self.backend.versions() | {"numpy": np.__version__},
            },
            "recipe": recipes.as_record(self.recipe),
            **self.inputs.record(),
        }


def prepare(
    content: images.Source,
    style: Styles,
    backend: str | None = None,
    recipe: str | Path | Recipe = DEFAULT_RECIPE,
    *,
    weights: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str = Settings.device,
    dtype: str = Settings.dtype,
    precision: str = Settings.precision,
    threads: int | None = Settings.threads,
    deterministic: bool = Settings.deterministic,
    fast: bool = Settings.fast,
    tile: Tile = Settings.tile,
    offline: bool = False,
    allow_large: bool = False,
    say: Say = to_stderr,
    warn: Say = to_stderr,
    **overrides: Unpack[RecipeKeywords],
) -> Prepared:
    """Resolve everything that a run needs, the cheapest checks first.

    `content`, `style`: what nst_spec.images.read takes: a path, a PIL image, an array or a tensor; `style` also a list
    of these, whose Gram matrices are blended.
    `backend`: "torch", "tf" or "reference"; None is torch if it is installed, else tf.
    `recipe`: a name (`nst recipes`), a TOML file, or a Recipe.
    `weights`: a weight set's name or file instead of the recipe's; `device`: auto, cpu, cuda or mps;
    `dtype`: float32 or float64; `precision`: how a float32 run multiplies in the network: fp32, tf32 (on a GPU that
    has it), bf16, or auto, which is bf16 where that is faster on the device and fp32 elsewhere; `threads`: CPU
    threads; `deterministic`: the same bits every time, on a GPU too; `fast`: round more where that is faster
    (TensorFlow's oneDNN only before TensorFlow is imported); `tile`: "auto" (computed in tiles where memory is short),
    "off", or the tiles' side in pixels; `offline`: never download; `allow_large`: accept images over 300 megapixels;
    `say`, `warn`: receive messages, to stderr if not given.
    `threads`, `deterministic` and TensorFloat-32 (off but for `precision="tf32"`) are the framework's own switches, of
    the whole process: they stay after the call, where the next one does not set them otherwise.
    `overrides`: the command line's options by name, for example size=256, steps=100, strength=0.7; `init` may be an
    image. `settings`: any other recipe key, for example {"optimizer.beta1": 0.95}; an option wins over it.

    Raises NstError for whatever a user can mend, in one sentence, and TypeError for an unknown keyword.
    """
    if not isinstance(settings, Mapping | None):
        raise NstError(f"settings: expected a dict, for example {{'optimizer.lr': 0.5}}, received {settings!r}")
    changes = dict(recipes.by_section((settings or {}).items()))
    changes |= to_settings(overrides, prepare.__kwdefaults__ or ())
    base = recipe if isinstance(recipe, Recipe) else recipes.load(recipe)
    # The recipe goes on naming its own set: a set without a preprocessing takes that one's.
    set_weights = changes.pop("weights") if isinstance(changes.get("weights"), str) else None
    chosen_weights = weights or set_weights or base.weights
    weight_sets.check_name(chosen_weights)
    for name in base.adapted:
        if name not in weight_sets.SETS and not Path(name).suffix:  # a file of weights has one
            raise not_accepted(f"recipe {base.name}: adapted", name, weight_sets.SETS)
    start_source = changes.get("init.file", base.init.file)
    if start_source is not None and "init.file" in changes:
        changes["init.file"] = str(start_source) if isinstance(start_source, str | Path) else IN_MEMORY
    # Whatever can be wrong is checked before weights are fetched; what they change comes after.
    resolved = recipes.override(base, changes)
    content_picture = images.read(content, allow_large=allow_large, warn=warn)
    styles: Sequence[Any] = style if isinstance(style, list | tuple) else [style]
    if not styles:
        raise NstError("style: expected at least one image, received none")
    style_pictures = tuple(images.read(source, allow_large=allow_large, warn=warn) for source in styles)
    start = None
    if resolved.init.kind == "file" and start_source is not None:
        start = images.read(start_source, allow_large=allow_large, warn=warn)
    finest = scales.sized_scales(resolved, content_picture, *style_pictures)[-1]
    if start and (stretching := finest.stretching(start)):
        warn(stretching)
    loaded_backend = backends.load(
        backend,
        device=device,
        dtype=dtype,
        precision=precision,
        threads=threads,
        deterministic=deterministic,
        fast=fast,
        tile=tile,
    )
    weight_set = weight_sets.load(chosen_weights, offline=offline, say=say, warn=warn)
    unadapted = recipes.override(resolved, {"adapted": {}})
    resolved = recipes.override(recipes.adapted_to(base, weight_sets.known_as(weight_set), changes), changes)
    adapted = recipes.differing_keys(unadapted, resolved)
    if adapted and base.weights != weight_sets.AUTO:
        say(f"recipe {base.name}: for the weights {weight_set.name!r} it changes {', '.join(adapted)}")
    for reason in recipes.without_effect(resolved, changes):
        warn(reason)
    check_weights(resolved, weight_set)
    space = weight_sets.preprocessing_for(resolved.preprocessing, resolved.weights, weight_set, warn=warn)
    inputs = Inputs(content_picture, style_pictures, weight_set, space, start)
    return Prepared(loaded_backend, resolved, inputs, say, warn)


def stylize(
    content: images.Source,
    style: Styles,
    backend: str | None = None,
    recipe: str | Path | Recipe = DEFAULT_RECIPE,
    on_step: OnStep | None = None,
    **overrides: Unpack[Keywords],
) -> Result:
    """Paint the content image in the style of the style image, or of several.

    `on_step` is called with a Progress after every step; the run ends if it returns True. Everything else is as for
    `nst.api.prepare`, but that `precision` is auto and `fast` True if not given.

    Raises NstError for whatever a user can mend, in one sentence.
    """
    return paint(prepare(content, style, backend, recipe, **{**PAINTING, **overrides}), on_step)


def paint(prepared: Prepared, on_step: OnStep | None = None) -> Result:
    """Run what `prepare` returned."""
    with heap.borrowed(), prepared.backend.undisturbed():
        outcome = run.run(
            prepared.backend, prepared.recipe, prepared.inputs, on_step, say=prepared.say, warn=prepared.warn
        )
    height, width = outcome.image.shape[:2]
    record = prepared.record() | {
        "width": width,
        "height": height,
        **_as_computed(outcome),
        "steps": len(outcome.losses),
        "stopped": outcome.stopped,
        "losses": [losses.as_record() for losses in outcome.losses],
    }
    return Result(outcome.image, outcome.losses, record, outcome.stopped)


def _as_computed(outcome: run.Outcome) -> dict[str, Any]:
    """Return what a record says of tiles, all of them where there were several, and of a history that memory cut."""
    tiles = {"tiles": list(outcome.tiles)} if len(outcome.tiles) > 1 else {}
    history = {} if outcome.plan.history is None else {"history": outcome.plan.history}
    return {"tile": outcome.plan.tile} | tiles | history


def evaluate(
    content: images.Source,
    style: Styles,
    backend: str | None = None,
    recipe: str | Path | Recipe = DEFAULT_RECIPE,
    image: images.Source | None = None,
    **overrides: Unpack[Keywords],
) -> Judgement:
    """Judge an image by a recipe, at the recipe's finest size and before any step.

    `image` of the run's own size is used pixel by pixel, another is resized; None is the recipe's initial image.
    Everything else is as for `nst.api.prepare`.

    Raises NstError for whatever a user can mend, in one sentence.
    """
    allow_large, warn = overrides.get("allow_large", False), overrides.get("warn", to_stderr)
    picture = None if image is None else images.read(image, allow_large=allow_large, warn=warn)
    prepared = prepare(content, style, backend, recipe, **overrides)
    finest = prepared.finest
    # No step is taken, so no memory is wanted for an optimiser.
    stepless = dataclasses.replace(finest, steps=0)
    problem = scales.problem_at(stepless, prepared.recipe, prepared.inputs, prepared.backend.dtype)
    width, height = finest.content_size
    if picture is None:
        pixels: NDArray[np.floating] = scales.initial_image(prepared.recipe, prepared.inputs, problem, finest)
    else:
        if stretching := finest.stretching(picture):
            prepared.warn(stretching)
        pixels = finest.on_canvas(images.fitted(picture.pixels, width, height))
    judged = pixels.astype(prepared.backend.dtype)
    del picture, pixels  # eight bytes a number, which a large image's evaluation wants
    with heap.borrowed(), prepared.backend.undisturbed():
        objective = prepared.backend.objective(problem)
        for reason in objective.plan.reasons:
            prepared.say(reason)
        evaluation = objective.evaluate(judged)
    record = prepared.record() | {"tile": objective.plan.tile}
    return Judgement(evaluation, prepared.recipe, prepared.inputs, record, width, height)
