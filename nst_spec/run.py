"""A run: from two pictures and a recipe, scale by scale and step by step, to an image. The same for every backend."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nst_spec import colours, generator, images, preprocessing, sizes, vgg19
from nst_spec.backend import Backend, Descent, Image, Losses, Problem
from nst_spec.errors import NstError
from nst_spec.frugal import OUT_OF_MEMORY, FrugalDescent, OutOfMemoryError
from nst_spec.memory import Plan
from nst_spec.messages import Say, to_nobody
from nst_spec.recipe import Recipe
from nst_spec.weights import WeightSet


@dataclass(frozen=True)
class Inputs:
    """What a run begins with: content and style pictures, the one that `init.kind` of `file` starts from, the weights.

    `preprocessing` is the pixel space that feeds the network.
    """

    content: images.Picture
    styles: tuple[images.Picture, ...]
    weights: WeightSet
    preprocessing: str
    start: images.Picture | None = None

    def record(self) -> dict[str, Any]:
        """Return names and hashes of weights and pictures, never folders."""
        style, *more_styles = self.styles
        pictures = {"content": self.content, "style": style, "start": self.start}
        weights = {
            "name": Path(self.weights.name).name,
            "sha256": self.weights.sha256,
            "preprocessing": self.preprocessing,
        }
        named: dict[str, Any] = {role: _named(picture) for role, picture in pictures.items() if picture}
        if more_styles:
            named["more_styles"] = [_named(picture) for picture in more_styles]
        return {"weights": weights, "inputs": named}


def _named(picture: images.Picture) -> dict[str, str]:
    return {"name": picture.name, "sha256": picture.sha256}


@dataclass(frozen=True)
class Progress:
    """One step done: its number of all steps, its scale of all scales, the size, the losses before the update.

    `work` is the share of the whole run's work that is done, counted as steps times pixels. `image()` fetches the
    picture (H, W, 3), unclipped, in the recipe's colours, as it is when it is called; to call it later, or to keep
    this, holds on to the scale.
    """

    step: int
    steps: int
    scale: int
    scales: int
    width: int
    height: int
    losses: Losses
    work: float
    image: Callable[[], Image] = field(repr=False)


GUARD_FACTOR = 10.0
"""A guarded loss may rise to this many times the best before the best image is restored."""

ASPECT_TOLERANCE = 0.02
"""What rounding a small image's sides may do to its aspect; more is worth a warning."""

OnStep = Callable[[Progress], bool | None]

Disturbance = Callable[[int, Image], Image]

ON_REQUEST = "on request"
"""Why a run stopped that its caller ended."""


def is_outside_cause(stopped: str) -> bool:
    """Return whether what stopped a run was its caller or the memory there was, and not its own numbers."""
    return stopped == ON_REQUEST or stopped.startswith(OUT_OF_MEMORY)


class NotFiniteError(Exception):
    """A term, which it names, is infinite or not a number."""


class NoPictureError(NstError):
    """The very first loss is not finite."""


class DivergedError(Exception):
    """A guarded run goes back to the same image again."""


@dataclass(frozen=True)
class Outcome:
    """What a run gave: the image (H, W, 3), the losses of every step, and why it stopped early, if it did.

    `plan` is how the last scale that had steps was computed: its tiles, and what was left of L-BFGS's history.
    """

    image: Image
    losses: tuple[Losses, ...]
    stopped: str | None
    plan: Plan


@dataclass(frozen=True)
class Stage:
    """One scale as it is run: its steps, the (width, height) of all images, and the margin around the first."""

    steps: int
    content_size: sizes.Size
    style_sizes: tuple[sizes.Size, ...]
    margin: int = 0

    @property
    def canvas_size(self) -> sizes.Size:
        """The (width, height) that is painted."""
        width, height = self.content_size
        return width + 2 * self.margin, height + 2 * self.margin

    def on_canvas(self, pixels: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return an image of the content image's size with its reflection around it."""
        around = (self.margin, self.margin)
        return np.pad(pixels, (around, around, (0, 0)), mode="symmetric") if self.margin else pixels

    def stretching(self, picture: images.Picture) -> str | None:
        """Return what a person should know of a picture that has not the content image's aspect, but for rounding."""
        own = _size(picture)
        if abs(own[0] * self.content_size[1] / (own[1] * self.content_size[0]) - 1) <= ASPECT_TOLERANCE:
            return None
        (width, height), (to_width, to_height) = own, self.content_size
        return f"{picture.name}: {width} x {height} px is stretched to the run's {to_width} x {to_height} px"

    def off_canvas(self, image: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return a painted image without its margin."""
        return image[self.margin : -self.margin, self.margin : -self.margin] if self.margin else image


def stages_of(recipe: Recipe, content: images.Picture, *styles: images.Picture) -> tuple[Stage, ...]:
    """Return the scales that are run, coarsest first.

    A scale at which an image would be too small for the deepest tap is passed over; the next one takes its steps. So
    is one without steps, unless it is the last, whose size the picture has.

    Raises NstError naming the picture that is too small even at the last scale, and where the recipe blends another
    number of style images.
    """
    recipe.style.shares(len(styles))
    stages = []
    schedule = recipe.schedule
    steps = 0
    for number, scale in enumerate(schedule, start=1):
        rule, pixels = recipe.size.rule, max(1, sizes.round_half_up(recipe.size.pixels * scale.fraction))
        content_size = sizes.resized(*_size(content), rule, pixels)
        style_sizes = tuple(
            sizes.style_size(*_size(p), content_size, rule, pixels, recipe.size.style_rule, recipe.size.style_scale)
            for p in styles
        )
        steps += scale.steps
        last = number == len(schedule)
        try:
            for picture, size in zip((content, *styles), (content_size, *style_sizes), strict=True):
                sizes.check_size(picture.name, *size, recipe.taps)
        except NstError as error:
            if last:
                own = ", ".join(f"{p.name} has {_size(p)[0]} x {_size(p)[1]} px" for p in (content, *styles))
                raise NstError(f"{error}; a larger --size helps, or a squarer image ({own})") from error
            continue
        if steps or last:
            stages.append(Stage(steps, content_size, style_sizes, recipe.size.margin))
        steps = 0
    return tuple(stages)


def problem_at(stage: Stage, recipe: Recipe, inputs: Inputs, dtype: str) -> Problem:
    """Return what is minimised at a scale, its images in the run's precision, the content image with its margin.

    Raises NstError when the weight set ends before the deepest tap.
    """
    check_weights(recipe, inputs.weights)
    content = stage.on_canvas(images.fitted(inputs.content.pixels, *stage.content_size)).astype(dtype)
    styles = tuple(
        images.fitted(style.pixels, *size).astype(dtype)
        for style, size in zip(inputs.styles, stage.style_sizes, strict=True)
    )
    return Problem(recipe, inputs.weights, inputs.preprocessing, content, styles, stage.steps)


def check_weights(recipe: Recipe, weights: WeightSet) -> None:
    """Raise NstError when the weight set ends before the recipe's deepest tap."""
    for layer in vgg19.layers_to(recipe.taps):
        if layer in vgg19.CONVOLUTIONS and f"{layer}.weight" not in weights.arrays:
            raise NstError(
                f"weights {weights.name}: the recipe's tap {recipe.taps[-1]} needs {layer}, which is missing; use "
                "--content-taps and --style-taps, or other --weights"
            )


def initial_image(recipe: Recipe, inputs: Inputs, problem: Problem, stage: Stage) -> NDArray[np.float64]:
    """Return the image (H, W, 3) that a run starts from at a scale.

    Noise is the generator's, with the recipe's seed and deviation, in the space that is optimised; it is not clipped.
    """
    height, width = problem.content.shape[:2]
    if recipe.init.kind == "noise":
        noise = generator.normal(recipe.init.seed, (height, width, 3)) * recipe.init.sigma
        return np.asarray(preprocessing.affine(recipe.space, "unit")(noise), np.float64)
    if recipe.init.kind == "content":
        return problem.content.astype(np.float64)
    start = inputs.styles[0] if recipe.init.kind == "style" else inputs.start
    if start is None:
        raise NstError("init: expected the image to start from, received none; use --init FILE")
    return np.asarray(stage.on_canvas(images.fitted(start.pixels, *stage.content_size)), np.float64)


def run(
    backend: Backend,
    recipe: Recipe,
    inputs: Inputs,
    on_step: OnStep | None = None,
    disturb: Disturbance | None = None,
    *,
    say: Say = to_nobody,
    warn: Say = to_nobody,
) -> Outcome:
    """Run the recipe: every scale from the coarsest, each starting from the image of the one before.

    `on_step` sees every step; if it returns True, the run ends after that step. `disturb` is given the steps
    done and the image in the run's precision, before the first step of a scale and after every step, and returns the
    image to go on with. `say` and `warn` receive messages about memory and tiles.

    Raises NstError when an image is too small or memory too short for the first step, naming the image or what needs
    less, and NoPictureError when the very first loss is not finite, naming the term.
    """
    history: list[Losses] = []
    image: Image | None = None
    stopped = None
    used = Plan()
    stages = stages_of(recipe, inputs.content, *inputs.styles)
    steps = sum(stage.steps for stage in stages)
    work = sum(stage.steps * math.prod(stage.canvas_size) for stage in stages)
    work_done = 0
    for number, stage in enumerate(stages, start=1):
        problem = problem_at(stage, recipe, inputs, backend.dtype)
        if image is None:
            start: Image = initial_image(recipe, inputs, problem, stage)
        else:
            start = stage.on_canvas(_carried(image, recipe, inputs, stage))
        if not stage.steps:
            image = stage.off_canvas(start)
            break
        start = start.astype(backend.dtype)
        start = disturb(len(history), start) if disturb else start
        steps_before = len(history)
        descent: FrugalDescent | None = None
        try:
            descent = FrugalDescent(backend, problem, start, say=say, warn=warn)
            del start  # as large as the image, and of no use any more
            for losses in descend(descent, recipe, stage.steps):
                history.append(losses)
                step = len(history)
                work_done += math.prod(stage.canvas_size)
                at = (step, steps, number, len(stages), *stage.content_size)
                # Nothing here may keep what holds on to the descent.
                asked = on_step and on_step(
                    Progress(*at, losses, work_done / work, partial(_shown, descent, stage, recipe, inputs))
                )
                if asked and step < steps:
                    stopped = ON_REQUEST
                    break
                if disturb:
                    descent.place(disturb(step, descent.image().astype(backend.dtype)))
        except OutOfMemoryError as trouble:
            if not history:
                raise
            stopped = str(trouble)
        except NotFiniteError as trouble:
            stopped = f"{trouble} is not finite at step {len(history) + 1}; this is the {_what_is_kept(recipe)}"
            if not history:
                raise NoPictureError(f"no picture: {trouble} is not finite at the first step") from trouble
        except DivergedError:
            stopped = f"step {len(history) + 1} explodes again from the best image, which this is; try a smaller --lr"
        # Without a step the picture is still the coarser scale's.
        if descent and len(history) > steps_before:
            image = descent.kept() if recipe.result == "best" else descent.image()
            if not np.isfinite(image).all():
                image = descent.kept()
                stopped = f"step {len(history)} went out of range; this is the {_what_is_kept(recipe)}"
            image = stage.off_canvas(image)
            used = descent.plan
        descent = None  # what comes next wants its memory
        if stopped:
            break
    assert image is not None
    # A run that stopped at a coarse scale still gives a picture of the size that was asked for.
    image = _clamped(_coloured(_carried(image, recipe, inputs, stages[-1]), recipe, inputs), recipe)
    return Outcome(image.astype(backend.dtype), tuple(history), stopped, used)


def _carried(image: Image, recipe: Recipe, inputs: Inputs, stage: Stage) -> Image:
    """Return a scale's image, without its margin, as large as a finer scale's and as the recipe has it there."""
    image = _clamped(image, recipe)
    height, width = image.shape[:2]
    # A run that nothing holds to the photo would show its detail as a ghost.
    is_held = recipe.alpha and any(recipe.content.taps.values())
    if recipe.carry == "image" or not is_held or (width, height) == stage.content_size:
        carried = images.resample(image, *stage.content_size)
    else:
        coarse, fine = (images.fitted(inputs.content.pixels, *size) for size in ((width, height), stage.content_size))
        carried = fine + images.resample(image - coarse, *stage.content_size)
    return _clamped(carried, recipe)


def _clamped(image: Image, recipe: Recipe) -> Image:
    return image if recipe.clamp == "none" else np.clip(image, 0.0, 1.0)


def _coloured(image: Image, recipe: Recipe, inputs: Inputs) -> Image:
    """Return a picture in the colours that the recipe wants it to have."""
    if recipe.colours == "style":
        return image
    height, width = image.shape[:2]
    content = images.fitted(inputs.content.pixels, width, height).astype(image.dtype)
    return colours.in_colours_of(content, image)


def _shown(descent: Descent, stage: Stage, recipe: Recipe, inputs: Inputs) -> Image:
    return _coloured(stage.off_canvas(descent.image()), recipe, inputs)


def descend(descent: Descent, recipe: Recipe, steps: int) -> Iterator[Losses]:
    """Take the steps of one scale, yielding the losses of each.

    A step is one evaluation and one update. The image kept is the one the lowest loss was computed on, or where neither
    a guard nor the recipe's result wants that one, the last one with a finite loss. A guarded run that meets a loss
    that is not finite, or over GUARD_FACTOR times the lowest, goes back to the kept image with a cleared history.

    Raises NotFiniteError naming the term, back at the image kept, where there is no guard, and DivergedError where the
    guard goes back to the same image again: from there it would for ever.
    """
    lowest = np.inf
    returned = False
    keeps_best = _keeps_best(recipe)
    for step in range(1, steps + 1):
        losses = descent.evaluate()
        broken = losses.not_finite
        # Above a loss of 0 there is rounding, which is many times as much.
        explodes = broken or losses.total > GUARD_FACTOR * lowest > 0
        if recipe.guard and np.isfinite(lowest) and explodes:
            descent.restore()
            if returned:
                raise DivergedError
            returned = True
        elif broken:
            if step > 1:
                descent.restore()
            raise NotFiniteError(broken)
        else:
            if losses.total < lowest or not keeps_best:
                descent.keep()
                returned = False
            lowest = min(lowest, losses.total)
            try:
                descent.update()
            except OutOfMemoryError:
                if recipe.result == "best":
                    yield losses  # the image that they are of has been kept, and counts
                raise
        yield losses


def _keeps_best(recipe: Recipe) -> bool:
    return recipe.guard or recipe.result == "best"


def _what_is_kept(recipe: Recipe) -> str:
    return "best image so far" if _keeps_best(recipe) else "last good image"


def _size(picture: images.Picture) -> tuple[int, int]:
    height, width = picture.pixels.shape[:2]
    return width, height
