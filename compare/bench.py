"""Measuring one backend at one size: in turn with a step all that it is held to, so that ratios hold on any machine.

On a machine that others use as well, a time says little and two times taken a minute apart say less. Here every piece
of work is timed once in each round, one after the other, and what is reported of two pieces is the ratio within a
round.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from compare import machine
from compare.bench_result import Memory, Profile, Row
from compare.record import environment
from nst_spec import generator, vgg19
from nst_spec.backend import Backend, Descent, Problem, Work, Workload
from nst_spec.errors import NstError
from nst_spec.recipe import Recipe
from nst_spec.sizes import check_size
from nst_spec.weights import WeightSet

Clock = Callable[[], float]

WARM_UP = 3
"""Rounds before those that count: frameworks trace, choose algorithms and reserve memory in the first ones."""
WARM_UP_SECONDS = 10.0
"""What is still not warm after so long does not become so."""
SIDES = (4096, 2048, 1024, 512)
"""Sides of the matrix product, of which the largest is taken that keeps to LONGEST_PRODUCT."""
LONGEST_PRODUCT = 0.5
"""Seconds."""


@dataclass(frozen=True)
class Case:
    """What is measured: a recipe, weights, the pixel space that feeds them, and the sides of image and tiles.

    Sides are in pixels; without `tile` the image is computed whole.
    """

    recipe: Recipe
    weights: WeightSet
    preprocessing: str
    size: int
    tile: int | None = None

    def problem(self, dtype: str) -> Problem:
        """Return the problem; its images are noise, since speed does not depend on what they show."""
        content, style = (generator.uniform(seed, (self.size, self.size, 3)).astype(dtype) for seed in (1, 2))
        return Problem(self.recipe, self.weights, self.preprocessing, content, (style,), self.recipe.steps)

    @property
    def multiply_adds(self) -> int:
        """The multiply-adds of a step; what tiles compute twice is counted once."""
        recipe, side = self.recipe, self.size
        return vgg19.step_multiply_adds(self.weights.widths, side, side, recipe.taps, tuple(recipe.style.taps))


def measure(
    backend: Backend,
    case: Case,
    *,
    runs: int,
    profile: bool,
    started_at: int | None,
    version: str,
    clock: Clock = time.perf_counter,
) -> Row:
    """Return the times of `runs` rounds, after those that warm up, and the memory that the first steps took.

    `profile` is whether to time the parts of a step as well, in rounds of their own; `started_at` the bytes that the
    process had before it loaded anything (None: unknown); `version` this package's; `clock` returns seconds. A step in
    tiles is held to the same step without, where that fits into memory.

    Raises NstError where the size is too small for the recipe's taps, and where a profile of tiles is wanted.
    """
    check_size("--sizes", case.size, case.size, case.recipe.taps)
    check_profile(profile, case.tile)
    at_rest = machine.peak_resident()
    problem = case.problem(backend.dtype)
    workload = backend.workload(problem, case.tile or "off")
    descent = workload.objective.descent(problem.content)
    step = _step(descent)
    _warm_up(step, clock)
    workload.finish()
    # Before anything else is built, which would be counted too.
    memory = _memory(workload, started_at, at_rest)
    side = _matrix_side(workload, clock)
    held_to: dict[str, Work]
    if case.tile:
        whole = backend.objective(problem)
        held_to = {} if whole.plan.tile else {"untiled": _step(whole.descent(problem.content))}
    else:
        held_to = {"bare": workload.bare_pass(), "tutorial": workload.tutorial_step()}
    pieces: dict[str, Work] = {"step": step, **held_to, "matrix": workload.matrix_product(side)}
    seconds = in_turn(pieces, runs, workload.finish, clock)
    parts = None
    if profile:
        pieces = {
            "bare": pieces["bare"],
            "losses": workload.loss_pass(),
            "evaluate": descent.evaluate,
            "update": descent.update,
        }
        # Apart, since an image put back every round would leave L-BFGS nothing to remember.
        transfers: dict[str, Work] = {"upload": lambda: descent.place(problem.content), "download": descent.image}
        timed = [in_turn(these, runs, workload.finish, clock) for these in (pieces, transfers)]
        parts = Profile(seconds=timed[0] | timed[1])
    return Row(
        environment=environment(backend, version, case.tile),
        size=case.size,
        tile=case.tile,
        multiply_adds=case.multiply_adds,
        matrix_side=side,
        seconds=seconds,
        memory=memory,
        profile=parts,
    )


def check_profile(profile: bool, tile: int | None) -> None:
    """Raise NstError where a profile of tiles is wanted."""
    if profile and tile:
        raise NstError("a profile is of the whole image at once: expected no --tile beside --profile")


def _step(descent: Descent) -> Work:
    def step() -> None:
        descent.evaluate()
        descent.update()

    return step


def in_turn(pieces: Mapping[str, Work], runs: int, finish: Work, clock: Clock) -> dict[str, list[float]]:
    """Return the seconds that each piece of work took in each of `runs` rounds, A B C A B C ..., once warm."""

    def timed(work: Work) -> float:
        before = clock()
        work()
        finish()
        return clock() - before

    def turn() -> dict[str, float]:
        return {name: timed(work) for name, work in pieces.items()}

    _warm_up(turn, clock)
    rounds = [turn() for _ in range(runs)]
    return {name: [seconds[name] for seconds in rounds] for name in pieces}


def _warm_up(work: Work, clock: Clock) -> None:
    """Do it WARM_UP times, or until WARM_UP_SECONDS have passed."""
    end = clock() + WARM_UP_SECONDS
    for _ in range(WARM_UP):
        work()
        if clock() >= end:
            return


def _memory(workload: Workload, started_at: int | None, at_rest: int | None) -> Memory | None:
    on_device = workload.peak_memory()
    if on_device is not None:
        return Memory(of="device", peak=on_device)
    peak = machine.peak_resident()
    if peak is None or started_at is None or at_rest is None:
        return None
    return Memory(of="process", peak=peak - started_at, at_rest=at_rest - started_at)


def _matrix_side(workload: Workload, clock: Clock) -> int:
    smallest = SIDES[-1]
    product = {"matrix": workload.matrix_product(smallest)}
    (seconds,) = in_turn(product, 1, workload.finish, clock)["matrix"]
    fitting = [side for side in SIDES if seconds * (side / smallest) ** 3 <= LONGEST_PRODUCT]
    return fitting[0] if fitting else smallest
