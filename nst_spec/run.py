"""A run: from two pictures and a recipe, scale by scale and step by step, to an image. The same for every backend."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from nst_spec import colours, images
from nst_spec.backend import Backend, Descent, Image, Losses
from nst_spec.errors import NstError
from nst_spec.frugal import OUT_OF_MEMORY, FrugalDescent, OutOfMemoryError
from nst_spec.inputs import Inputs
from nst_spec.memory import Plan
from nst_spec.messages import Say, to_nobody
from nst_spec.recipe import Recipe
from nst_spec.scales import SizedScale, carried, clamped, initial_image, problem_at, sized_scales


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

    `plan` is how the last scale that had steps was computed: its tiles, and what was left of L-BFGS's history; `tiles`
    are the sides of all tiles in turn, in pixels, None for no tiles.
    """

    image: Image
    losses: tuple[Losses, ...]
    stopped: str | None
    plan: Plan
    tiles: tuple[int | None, ...]


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
    image to go on with. `say` and `warn` receive messages about memory and tiles, and `warn` where it stands still.

    Raises NstError when an image is too small or memory too short for the first step, naming the image or what needs
    less, and NoPictureError when the very first loss is not finite, naming the term.
    """
    history: list[Losses] = []
    image: Image | None = None
    stopped = None
    used = Plan()
    tiles: list[int | None] = []
    scales = sized_scales(recipe, inputs.content, *inputs.styles)
    steps = sum(scale.steps for scale in scales)
    work = sum(scale.steps * math.prod(scale.canvas_size) for scale in scales)
    work_done = 0
    stands_still = False
    for number, scale in enumerate(scales, start=1):
        problem = problem_at(scale, recipe, inputs, backend.dtype)
        if image is None:
            start: Image = initial_image(recipe, inputs, problem, scale)
        else:
            start = scale.on_canvas(carried(image, recipe, inputs, scale))
        if not scale.steps:
            image = scale.off_canvas(start)
            break
        start = start.astype(backend.dtype)
        start = disturb(len(history), start) if disturb else start
        steps_before = len(history)
        descent: FrugalDescent | None = None
        try:
            descent = FrugalDescent(backend, problem, start, say=say, warn=warn)
            del start  # as large as the image, and of no use any more
            for losses in descend(descent, recipe, scale.steps):
                history.append(losses)
                step = len(history)
                if not tiles or descent.plan.tile != tiles[-1]:
                    tiles.append(descent.plan.tile)
                if not stands_still and _changed_nothing(history):
                    stands_still = True
                    warn(
                        f"step {step - 1} changed nothing: to {recipe.optimizer.kind} so small a gradient is the end; "
                        "where it is not, other weights of the losses (--alpha, --beta) help"
                    )
                work_done += math.prod(scale.canvas_size)
                at = (step, steps, number, len(scales), *scale.content_size)
                # Nothing here may keep what holds on to the descent.
                asked = on_step and on_step(
                    Progress(*at, losses, work_done / work, partial(_shown, descent, scale, recipe, inputs))
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
            image = scale.off_canvas(image)
            used = descent.plan
        descent = None  # what comes next wants its memory
        if stopped:
            break
    assert image is not None
    # A run that stopped at a coarse scale still gives a picture of the size that was asked for.
    image = clamped(_coloured(carried(image, recipe, inputs, scales[-1]), recipe, inputs), recipe)
    return Outcome(image.astype(backend.dtype), tuple(history), stopped, used, tuple(tiles))


def _changed_nothing(history: Sequence[Losses]) -> bool:
    """Return whether the last but one step left the image as it was, though there is something to gain."""
    return len(history) > 1 and history[-1] == history[-2] and history[-1].total > 0


def _coloured(image: Image, recipe: Recipe, inputs: Inputs) -> Image:
    """Return a picture in the colours that the recipe wants it to have."""
    if recipe.colours == "style":
        return image
    height, width = image.shape[:2]
    content = images.fitted(inputs.content.pixels, width, height).astype(image.dtype)
    return colours.in_colours_of(content, image)


def _shown(descent: Descent, scale: SizedScale, recipe: Recipe, inputs: Inputs) -> Image:
    return _coloured(scale.off_canvas(descent.image()), recipe, inputs)


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
