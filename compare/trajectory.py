"""Comparing two runs: chaos makes much of rounding, so each is measured beside its own nudged ones."""

import itertools
from collections.abc import Iterator

import numpy as np

from compare.distance import greatest, length_error, relative
from compare.result import FIRST_UPDATE, IMAGE, LENGTH, PICTURE, RUN, First, Measure, Step, Trajectory
from compare.tolerances import TOLERANCES
from compare.trace import START, Trace
from nst_spec.backend import finite_or_none


def compared(a: Trace, b: Trace, profile: str) -> Trajectory | None:
    """Return two traces' runs beside each other, judged by the limits of a profile; None where one has no run."""
    if "run/loss" not in a.arrays or "run/loss" not in b.arrays:
        return None
    common = sorted({int(name) for name in a.under("run/image")} & {int(name) for name in b.under("run/image")})
    steps = [_step(a, b, f"image/{step}", step) for step in common]
    have_pictures = all("run/result" in trace.arrays for trace in (a, b))
    picture = _step(a, b, "result", len(b.arrays["run/loss"])) if have_pictures else None
    comparable = profile == b.header.environment.dtype
    kept = len(list(itertools.takewhile(_remembers, steps))) if comparable else 0
    late = [step for step in steps[:kept] if step.step >= TOLERANCES.first_step]
    if picture and late and kept == len(steps) and _remembers(picture):
        picture = _judged(picture, profile)
    steps = [_judged(step, profile) if step in late else step for step in steps]
    ok = all(step.ok for step in (*steps, *([picture] if picture else [])))
    return Trajectory(
        losses=(_losses(a), _losses(b)),
        steps=steps,
        picture=picture,
        first_update=_first_update(a, b, profile) if comparable else None,
        judged=bool(late),
        ratio=Measure(error=greatest([step.ratio for step in late], 0.0), limit=TOLERANCES.trajectory.limit, ok=ok),
    )


def failures(trajectory: Trajectory) -> Iterator[First]:
    """Yield what is out, in the order of computation."""
    limit = TOLERANCES.trajectory.limit
    if trajectory.first_update and not trajectory.first_update.ok:
        yield First(quantity=LENGTH, where=FIRST_UPDATE, measure=trajectory.first_update, step=1)
    for step in trajectory.steps:
        if not step.ok:
            measure = Measure(error=step.ratio, limit=limit, ok=False)
            yield First(quantity=IMAGE, where=f"step {step.step}", measure=measure, step=step.step)
    lengths = [len(losses) for losses in trajectory.losses]
    if lengths[0] != lengths[1]:
        # Steps that only one side took; the other's loss was not finite.
        measure = Measure(error=float(abs(lengths[0] - lengths[1])), limit=0.0, ok=False)
        yield First(quantity=LENGTH, where=RUN, measure=measure)
    if trajectory.picture and not trajectory.picture.ok:
        step = trajectory.picture
        measure = Measure(error=step.ratio, limit=limit, ok=False)
        yield First(quantity=PICTURE, where=RUN, measure=measure, step=step.step)


def _first_update(a: Trace, b: Trace, profile: str) -> Measure | None:
    ours, theirs = a.first_update(), b.first_update()
    if ours is None or theirs is None or not (np.isfinite(ours).all() or np.isfinite(theirs).all()):
        return None
    own = [
        length_error(moved, update)
        for trace, update in ((a, ours), (b, theirs))
        for n in _nudges(trace)
        if (moved := trace.first_update(f"nudged/{n}")) is not None
    ]
    noise = max((error for error in own if error is not None), default=0.0)
    # Where one side alone moves, its own length is the measure.
    received, expected = (ours, theirs) if theirs.any() else (theirs, ours)
    # Each side rounds each value by half a unit in the last place, of white or of what is beyond it, and nothing
    # averages that: values that are to move by less stay.
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        largest = np.max(np.abs(b.arrays[START]), initial=1.0)
        unit = np.finfo(profile).eps / 2 * np.exp2(np.ceil(np.log2(largest)))
        rounding = unit * np.sum(np.abs(expected)) / np.sum(expected**2)
    limit = max(TOLERANCES.limit(profile, "length"), TOLERANCES.trajectory.limit * noise, finite_or_none(rounding) or 0)
    error = length_error(received, expected)
    return Measure(error=error, limit=limit, ok=error is not None and error <= limit)


def _step(a: Trace, b: Trace, name: str, step: int) -> Step:
    ours, theirs = (trace.arrays[f"run/{name}"] for trace in (a, b))
    distance = relative(ours, theirs)
    own = _own_distance(a, name), _own_distance(b, name)
    noise = _noise(own, b.header.environment.dtype)
    ratio = None if distance is None or noise is None else distance / noise
    # Not judged is no excuse for an image that one side alone has lost.
    both = ours.shape == theirs.shape and np.isfinite(ours).all() == np.isfinite(theirs).all()
    return Step(step=step, distance=distance, own_distances=own, ratio=ratio, allowed=None, ok=bool(both))


def _noise(own_distances: tuple[float | None, float | None], dtype: str) -> float | None:
    ours, theirs = own_distances
    # Below one rounding there is nothing to compare: two equal images are as far from themselves.
    return None if ours is None or theirs is None else max(ours, theirs, float(np.finfo(dtype).eps))


def _remembers(step: Step) -> bool:
    """Return whether both runs are still near their own nudged ones; a distance that is not known does not say no."""
    return all(own is None or own <= TOLERANCES.lost for own in step.own_distances)


def _judged(step: Step, dtype: str) -> Step:
    limit = TOLERANCES.trajectory.limit
    noise = _noise(step.own_distances, dtype)
    # Two equal images are equal, also where neither run can tell how far it is from itself.
    equal = step.distance == 0 and step.own_distances == (None, None)
    ok = equal or (step.ratio is not None and step.ratio <= limit)
    return step.model_copy(update={"allowed": None if noise is None else limit * noise, "ok": ok})


def _own_distance(trace: Trace, image: str) -> float | None:
    """Return how far a run is from its nudged ones; what N units do is counted as N times what one does."""
    # A nudged run that ended before this image tells nothing of how far the others might be.
    return greatest([_nudged_distance(trace, n, image) for n in _nudges(trace)])


def _nudges(trace: Trace) -> set[int]:
    return {int(name.partition("/")[0]) for name in trace.under("nudged")}


def _nudged_distance(trace: Trace, units: int, image: str) -> float | None:
    moved = trace.arrays.get(f"nudged/{units}/{image}")
    distance = None if moved is None else relative(moved, trace.arrays[f"run/{image}"])
    return None if distance is None else distance / units


def _losses(trace: Trace) -> list[float | None]:
    return [finite_or_none(loss) for loss in trace.arrays["run/loss"].tolist()]
