"""Recording: what a backend computes for one recipe and one pair of images, as a trace."""

import dataclasses
import platform
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from compare import machine
from compare.trace import START, Array, Environment, Header, Trace, sample, style_arrays
from nst_spec import generator, images, reference, run, scales, tiles
from nst_spec import recipe as recipes
from nst_spec.backend import Backend, Evaluation, Image, Objective, Passes, Problem
from nst_spec.errors import NstError
from nst_spec.files import in_utf8
from nst_spec.inputs import Inputs
from nst_spec.recipe import Pooling, Recipe
from nst_spec.run import Progress

GRAIN = 0.5
"""How much of the judged image is noise."""
CLOSER_LOOK = 8
"""Nudged runs of a second look."""
GREY_LEVEL = 1 / 255
"""A darker pixel moves as far as this one does: a unit in the last place of black is nothing at all."""


def record(
    backend: Backend,
    recipe: Recipe,
    inputs: Inputs,
    *,
    version: str,
    image: NDArray[np.float64] | None = None,
    whole: bool = False,
    every: int = 1,
    runs: bool = True,
    closer: bool = False,
) -> Trace:
    """Return the trace of a recipe: one image judged at the finest scale, and the run, with its noise.

    `version` is this package's; `image` (H, W, 3) the one to judge, in [0, 1], resized if need be, None a blend of
    content image, first style image and noise; `whole` whether to keep the layers' maps instead of samples; `every` how
    many steps apart images are kept, beside the first and the last; `runs` whether there are any. Beside the run there
    is one whose images are moved by one unit in the last place before every step, and the content image with the one
    that starts there. `closer` is for a second look: the blend has other noise, and there are CLOSER_LOOK nudged runs,
    by one unit, by two, and so on. In tiles, if the backend is set to compute so, are losses, gradient and runs alone.

    Raises NstError when an image is too small, or memory too short for the run.
    """
    # Whose colours the picture has says nothing of the run, and would hide those that it painted.
    computed = recipes.override(recipe, {"colours": "style"})
    kept = cast(Backend, _Keeping(backend))
    scale = scales.sized_scales(computed, inputs.content, *inputs.styles)[-1]
    problem = scales.problem_at(scale, computed, inputs, backend.dtype)
    nudges = CLOSER_LOOK if closer else 1
    # As many nudges, as many seeds: a second look judges another image.
    if image is None:
        judged = _blend(problem, inputs, seed=nudges)
    else:
        judged = scale.on_canvas(images.fitted(image, *scale.content_size))
    judged = judged.astype(backend.dtype)
    objective = kept.objective(problem)
    untiled = kept.objective(problem, "off") if objective.plan.tile else objective
    passes, evaluation = untiled.passes(judged), objective.evaluate(judged)
    arrays: dict[str, Array] = {"input/content": problem.content, "image": judged}
    arrays |= dict(zip(style_arrays(len(problem.styles)), problem.styles, strict=True))
    given = [*arrays, START]  # to every backend
    arrays |= _layers(passes, recipe.pooling, whole=whole)
    arrays |= _judgement(evaluation, untiled.passes(problem.content).outputs)
    arrays |= _runs(backend, kept, computed, inputs, every, nudges) if runs and recipe.steps else {}
    header = Header(
        environment=environment(backend, version, objective.plan.tile),
        recipe=in_utf8(recipes.as_record(recipe)),
        **in_utf8(inputs.record()),
        pixels={name: images.sha256_of_pixels(arrays[name]) for name in given if name in arrays},
        content_size=scale.canvas_size,
        style_size=scale.style_sizes[0],
        more_style_sizes=scale.style_sizes[1:],
        shapes={layer: output.shape for layer, output in passes.outputs.items()},
    )
    return Trace(header, arrays)


class _Around:
    """A backend but for what a subclass does otherwise."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


class _Keeping(_Around):
    """A backend that keeps its objectives: the image that is judged and every run take the same, to compile once."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self._made: list[tuple[Problem, tiles.Tile | None, Objective]] = []

    def objective(self, problem: Problem, tile: tiles.Tile | None = None) -> Objective:
        for made, its_tile, objective in self._made:
            pairs = zip((made.content, *made.styles), (problem.content, *problem.styles), strict=True)
            same = (made.recipe, made.steps, its_tile) == (problem.recipe, problem.steps, tile)
            if same and all(np.array_equal(*pair) for pair in pairs):
                return objective
        self._made.append((problem, tile, self._backend.objective(problem, tile)))
        return self._made[-1][-1]


class _Moving(_Around):
    """A backend to which content images are given as a disturbance makes them before the first step.

    A run that starts from its content image has no content loss there, to the last bit and in every backend. What moved
    the one and not the other would measure that, and not rounding.
    """

    def __init__(self, backend: Backend, disturb: run.Disturbance) -> None:
        super().__init__(backend)
        self._disturb = disturb

    def objective(self, problem: Problem, tile: tiles.Tile | None = None) -> Objective:
        moved = dataclasses.replace(problem, content=self._disturb(0, problem.content))
        return self._backend.objective(moved, tile)


def _blend(problem: Problem, inputs: Inputs, seed: int) -> Array:
    # Where the image is like an input, a term is a small difference of large features and its gradient much rounding;
    # in flat regions rounding breaks the ties of maximum pooling. Noise is like neither input, and never flat.
    height, width = problem.content.shape[:2]
    grain = generator.uniform(seed, (height, width, 3))
    both = (images.fitted(inputs.styles[0].pixels, width, height) + problem.content) / 2
    return np.asarray((1 - GRAIN) * both + GRAIN * grain)


def environment(backend: Backend, version: str, tile: int | None) -> Environment:
    """Return what the backend's numbers come from; `version` is this package's, `tile` the side of the tiles."""
    return Environment(
        backend=backend.name,
        device=backend.device,
        dtype=backend.dtype,
        precision=backend.precision,
        fast=backend.fast,
        tile=tile,
        versions={"python": platform.python_version(), "numpy": np.__version__} | backend.versions(),
        switches=backend.switches(),
        system=machine.system(),
        nst=version,
    )


def nudged(image: Image, units: int, seed: int) -> Image:
    """Return the image with every value moved up or down, at random, by some units in its last place."""
    up = (generator.integers(seed, image.size) >> np.uint64(63)).reshape(image.shape) == 1
    move = units * np.spacing(np.maximum(np.abs(image), image.dtype.type(GREY_LEVEL)))
    return np.asarray(np.where(up, image + move, image - move), image.dtype)


def _layers(passes: Passes, pooling: Pooling, *, whole: bool) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for kind, maps in (("output", passes.outputs), ("slope", passes.gradients)):
        for layer, values in maps.items():
            # The preprocessed image is kept whole: pixel spaces are told apart by its channels.
            arrays[f"{kind}/{layer}"] = values if whole or layer == "input" else sample(values)
            arrays[f"facts/{kind}/{layer}"] = np.array(_facts(values))
    previous = "input"
    for layer in passes.outputs:
        if layer.startswith("relu"):
            arrays[f"choices/{layer}"] = np.packbits(passes.outputs[previous] > 0)
        elif layer.startswith("pool") and pooling.kind == "max":
            winners, ties = _pooling_choices(passes.outputs[previous], pooling)
            arrays[f"choices/{layer}"] = np.packbits(np.stack([winners >> 1, winners & 1], axis=-1).astype(bool))
            arrays[f"ties/{layer}"] = np.array(ties)
        previous = layer
    return arrays


def _facts(values: Array) -> tuple[float, float, float]:
    values = values.astype(np.float64)
    return float(values.mean()), float(values.std()), float(np.abs(values).max())


def _pooling_choices(values: Array, pooling: Pooling) -> tuple[NDArray[np.int64], int]:
    members = reference.windows(values, pooling, fill=-np.inf)
    highest = members.max(axis=2)
    ties = ((members == highest[:, :, None]).sum(axis=2) > 1) & (highest > 0)
    return members.argmax(axis=2), int(ties.sum())


def _judgement(evaluation: Evaluation, content: Mapping[str, Array]) -> dict[str, Array]:
    values = evaluation.losses
    numbers = {f"energy/content/{tap}": _energy(content[tap]) for tap in values.content_terms}
    numbers |= {f"energy/style/{tap}": _energy(target) for tap, target in evaluation.targets.items()}
    numbers |= {f"term/content/{tap}": value for tap, value in values.content_terms.items()}
    numbers |= {f"term/style/{tap}": value for tap, value in values.style_terms.items()}
    numbers["term/tv"] = values.tv
    numbers |= {"total/content": values.content, "total/style": values.style, "total/loss": values.total}
    arrays: dict[str, Array] = {name: np.array(number, np.float64) for name, number in numbers.items()}
    arrays |= {f"gram/{tap}": gram for tap, gram in evaluation.grams.items()}
    arrays |= {f"target/{tap}": target for tap, target in evaluation.targets.items()}
    return arrays | {"gradient": evaluation.gradient}


def _energy(values: Array) -> float:
    return float(np.sum(values.astype(np.float64) ** 2))


def _runs(backend: Backend, kept: Backend, recipe: Recipe, inputs: Inputs, every: int, nudges: int) -> dict[str, Array]:
    scale = scales.sized_scales(recipe, inputs.content, *inputs.styles)[0]
    first = scales.problem_at(scale, recipe, inputs, backend.dtype)
    start = scales.initial_image(recipe, inputs, first, scale).astype(backend.dtype)
    found = {f"run/{name}": array for name, array in _one_run(kept, recipe, inputs, every, start, None).items()}
    for units in range(1, nudges + 1):
        # At every step and not at the start alone, since backends round at every step: a single offset, which a
        # backend rounds alike ever after, misses most of what L-BFGS makes of rounding.
        def disturb(step: int, image: Image, units: int = units) -> Image:
            return nudged(image, units, seed=units * MOST_STEPS + step)

        its_own = cast(Backend, _Moving(backend, disturb)) if recipe.init.kind == "content" else kept
        arrays = _one_run(its_own, recipe, inputs, every, disturb(0, start), disturb)
        found |= {f"nudged/{units}/{name}": array for name, array in arrays.items()}
    return found


MOST_STEPS = 10**6
"""Nudged runs of fewer steps have no random numbers in common."""


def _one_run(
    backend: Backend, recipe: Recipe, inputs: Inputs, every: int, start: Image, disturb: run.Disturbance | None
) -> dict[str, Array]:
    arrays: dict[str, Array] = {"image/0": start}

    def keep(progress: Progress) -> None:
        if progress.step % every == 0 or progress.step in (1, progress.steps):
            arrays[f"image/{progress.step}"] = progress.image()

    try:
        outcome = run.run(backend, recipe, inputs, keep, disturb)
    except run.NoPictureError:
        # What was judged before says where that begins.
        return arrays | {"loss": np.zeros(0)}
    if outcome.stopped and run.is_outside_cause(outcome.stopped):
        raise NstError(outcome.stopped)
    return arrays | {"loss": np.array([step.total for step in outcome.losses]), "result": outcome.image}
