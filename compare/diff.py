"""Comparing two traces: every error beside its limit, a verdict, and the first place where they part."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from compare import hints
from compare.facts import differing, recipe_facts
from compare.tolerances import TOLERANCES, Quantity
from compare.trace import START, Array, Environment, Trace, choice_bits
from nst_spec import losses
from nst_spec.backend import finite_or_none
from nst_spec.errors import NstError
from nst_spec.recipe import Recipe


class Part(BaseModel):
    """A part of the result; where a number is not finite, JSON has null."""

    model_config = ConfigDict(frozen=True)


class Measure(Part):
    """An error beside its limit; None for an error that is no finite number, or between arrays of other shapes."""

    error: float | None
    limit: float
    ok: bool

    @property
    def text(self) -> str:
        """The error as a reader is told it."""
        if self.error is None:
            return "not comparable"
        # What is held to a limit over 1 is a ratio.
        return f"{self.error:.1e}" if self.error and self.limit < 1 else f"{self.error:.3g}"


def limit_text(limit: float) -> str:
    """Return a limit as a reader is told it."""
    return f"{limit:.0e}" if limit < 1 else f"{limit:g}"


class Choices(Part):
    """How many of a layer's choices (signs at a ReLU, winners at a maximum pooling) the two sides make otherwise."""

    differing: int
    of: int


class Layer(Part):
    """One layer: its output, the gradient by it (`slope`), and what a tap adds."""

    layer: str
    output: Measure
    slope: Measure
    choices: Choices | None = None
    target: Measure | None = None
    gram: Measure | None = None
    content_term: Measure | None = None
    style_term: Measure | None = None


QUANTITIES = {
    "output": "output of",
    "target": "target Gram matrix of",
    "gram": "Gram matrix of",
    "content_term": "content term of",
    "style_term": "style term of",
}
"""What is called out at a layer, in the order of computation: its field of a Layer, and First's name for it."""


def limit_of(layers: Sequence[Layer], field: str) -> float | None:
    """Return the limit of one of QUANTITIES, the same for all layers; None where no layer has it."""
    measures = (getattr(layer, field) for layer in layers)
    return next((measure.limit for measure in measures if measure), None)


class Step(Part):
    """A step of both runs: how far apart the images are, how far each from its own nudged run, and the ratio of these.

    `allowed` is the greatest distance that passes, None where the step is not judged.
    """

    step: int
    distance: float | None
    own_distances: tuple[float | None, float | None]
    ratio: float | None
    allowed: float | None
    ok: bool


class Trajectory(Part):
    """The runs: total losses of each side, the steps at which both have images, the final picture, the greatest ratio.

    `first_update` is how far the length of the first update is off, None where no side knows it, or precision is low.
    `judged` is False for a run too short to be, or in a precision whose roundings are no neighbours, or that is far
    from its own nudged run from the beginning.
    """

    losses: tuple[list[float | None], list[float | None]]
    steps: list[Step]
    picture: Step | None
    first_update: Measure | None
    judged: bool
    ratio: Measure


class First(Part):
    """The first quantity that is out, in the order of computation, with its error."""

    quantity: str
    where: str
    measure: Measure
    step: int | None = None

    def __str__(self) -> str:
        return f"{self.quantity} {self.where}: {self.measure.text}, limit {limit_text(self.measure.limit)}"


class Comparison(Part):
    """Two traces compared; the first side is held to the second. Sizes are the images', without the recipe's margin."""

    recipe: str
    profile: str
    sides: tuple[Environment, Environment]
    weights: str
    content: str
    style: str
    content_size: tuple[int, int]
    style_size: tuple[int, int]
    more_style_sizes: list[tuple[int, int]] = []
    layers: list[Layer]
    totals: dict[str, Measure]
    flips: int
    gradient: Measure
    trajectory: Trajectory | None
    first: First | None
    hint: str | None
    ok: bool

    @property
    def why_not_judged(self) -> str:
        """Why a run is shown and not judged."""
        in_full = self.profile == self.sides[1].dtype
        return "too short, or lost at once" if in_full else "the precision is too low"


class Result(Part):
    """What `nst compare` and `nst diff` found, as `--json` prints it; `schema_version` changes when a name does."""

    schema_version: Literal[1] = 1
    nst: str
    ok: bool
    notes: list[str]
    commands: list[str]
    comparisons: list[Comparison]


def diff(a: Trace, b: Trace) -> Comparison:
    """Return how far trace `a` is from trace `b`.

    Raises NstError, naming everything that differs, for traces of different recipes, weights, inputs or sizes.
    """
    check_comparable(a, b)
    profile = profile_of(a, b)
    layers = _layers(a, b, profile)
    flips = sum(layer.choices.differing for layer in layers if layer.choices)
    totals = _totals(a, b, profile)
    gradient = _measure(
        relative(a.arrays["gradient"], b.arrays["gradient"]), profile, "flipped-gradient" if flips else "gradient"
    )
    trajectory = _trajectory(a, b, profile)
    first = next(_failures(layers, totals, gradient, trajectory), None)
    header = b.header
    return Comparison(
        recipe=header.recipe["name"],
        profile=profile,
        sides=(a.header.environment, header.environment),
        weights=f"{header.weights.name} ({header.weights.preprocessing})",
        content=header.inputs.content.name,
        style=", ".join(style.name for style in header.inputs.styles),
        content_size=header.picture_size,
        style_size=header.style_size,
        more_style_sizes=list(header.more_style_sizes),
        layers=layers,
        totals=totals,
        flips=flips,
        gradient=gradient,
        trajectory=trajectory,
        first=first,
        hint=hints.hint(a, b, first.quantity, first.where) if first else None,
        ok=first is None,
    )


def relative(received: Array, expected: Array) -> float | None:
    """Return the norm of the difference over the norm of what is expected; 0 where both are all zero.

    None for different shapes, and where it is no finite number.
    """
    if received.shape != expected.shape:
        return None
    expected = expected.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        difference = float(np.linalg.norm(received.astype(np.float64) - expected))
        return finite_or_none(_over(difference, float(np.linalg.norm(expected))))


def profile_of(a: Trace, b: Trace) -> str:
    """Return the name of the limits that two traces are held to: the dtype, or the least precision of either."""
    precisions = {a.header.environment.precision, b.header.environment.precision} - {"fp32"}
    # bf16 keeps 8 bits, tf32 11; the names sort so.
    return min(precisions) if precisions else a.header.environment.dtype


PIXELS_OF_START = f"pixels of {START}"


def check_comparable(a: Trace, b: Trace) -> None:
    """Raise NstError with the list of what differs, unless both traces record the same computation."""
    ours, theirs = _facts(a), _facts(b)
    # One side may have no run, and so no image that it starts from.
    if PIXELS_OF_START not in ours or PIXELS_OF_START not in theirs:
        ours, theirs = ({fact: side[fact] for fact in side if fact != PIXELS_OF_START} for side in (ours, theirs))
    differences = differing(ours, theirs)
    if differences:
        raise NstError(f"these traces are not of one computation; they differ in: {differences}")


def _facts(trace: Trace) -> dict[str, str]:
    header = trace.header
    hashes = {f"pixels of {name}": value[:12] for name, value in header.pixels.items()}
    facts: dict[str, Any] = {
        "weights": header.weights.sha256[:12],
        "preprocessing": header.weights.preprocessing,
        "dtype": header.environment.dtype,
        "content size": header.content_size,
        "style size": ", ".join(map(str, header.style_sizes.values())),
    }
    return {fact: str(value) for fact, value in (recipe_facts(header.recipe) | facts | hashes).items()}


def wants_closer_look(comparison: Comparison) -> bool:
    """Return whether all that is out may be the work of a choice at a knife's edge.

    Such a choice (a ReLU, a pooling, Adam's first step where the gradient is nearly zero) is a rare event. In a deep
    layer of a small image it may move the gradient by more than the limit, and a run may meet one that its only nudged
    run did not meet. It hardly ever comes back for another image, nor escapes all the nudged runs of a second look; a
    fault does come back.
    """
    first = comparison.first
    if first is None or comparison.profile != comparison.sides[1].dtype:
        return False
    loosened = first.measure.limit == TOLERANCES.limit(comparison.profile, "flipped-gradient")
    return first.step is not None or (first.quantity == "gradient by" and loosened)


def _measure(error: float | None, profile: str, quantity: Quantity) -> Measure:
    limit = TOLERANCES.limit(profile, quantity)
    return Measure(error=error, limit=limit, ok=error is not None and error <= limit)


def _over(difference: float, norm: float) -> float:
    if not math.isfinite(norm):
        return math.nan
    return difference / norm if norm else 0.0 if difference == 0.0 else math.inf


def _layers(a: Trace, b: Trace, profile: str) -> list[Layer]:
    found = []
    flipped = False
    for layer in reversed(b.header.shapes):
        choices = _choices(a, b, layer)
        arrays = {quantity: f"{quantity}/{layer}" for quantity in ("gram", "target")}
        measures: dict[str, Measure] = {
            quantity: _measure(relative(a.arrays[name], b.arrays[name]), profile, "gram")
            for quantity, name in arrays.items()
            if name in b.arrays
        }
        for kind in ("content", "style"):
            if f"term/{kind}/{layer}" in b.arrays:
                measures[f"{kind}_term"] = _term(a, b, f"term/{kind}/{layer}", _energies(b, kind)[layer], profile)
        found.append(
            Layer(
                layer=layer,
                output=_measure(_of_layer(a, b, "output", layer), profile, "output"),
                slope=_measure(_of_layer(a, b, "slope", layer), profile, "flipped-gradient" if flipped else "gradient"),
                choices=choices,
                **measures,
            )
        )
        # A gradient passes through the choices of every layer after its own.
        flipped = flipped or bool(choices and choices.differing)
    return found[::-1]


def _of_layer(a: Trace, b: Trace, kind: str, layer: str) -> float | None:
    if a.header.shapes.get(layer) != b.header.shapes[layer]:
        return None
    name = f"{kind}/{layer}"
    whole = all(trace.arrays[name].ndim == len(b.header.shapes[layer]) for trace in (a, b))
    of_values = relative(*((trace.arrays[name] if whole else trace.sample(name)) for trace in (a, b)))
    # Mean and deviation of the whole map tell what the samples may miss; both are judged beside the map's own size.
    ours, theirs = (trace.arrays[f"facts/{kind}/{layer}"] for trace in (a, b))
    size = float(np.hypot(theirs[0], theirs[1]))
    of_facts = (finite_or_none(_over(abs(float(x - y)), size)) for x, y in zip(ours[:2], theirs[:2], strict=True))
    return _greatest([of_values, *of_facts])


def _greatest(values: Sequence[float | None], default: float | None = None) -> float | None:
    """Return the greatest value, None where one of them is not known."""
    known = [value for value in values if value is not None]
    return max(known, default=default) if len(known) == len(values) else None


def _choices(a: Trace, b: Trace, layer: str) -> Choices | None:
    ours, theirs = (trace.arrays.get(f"choices/{layer}") for trace in (a, b))
    if ours is None or theirs is None or a.header.shapes.get(layer) != b.header.shapes[layer]:
        return None
    size = math.prod(b.header.shapes[layer])
    bits = np.unpackbits(np.bitwise_xor(ours, theirs))
    per_choice = choice_bits(b.header, layer)
    differing = bits[: per_choice * size].reshape(size, per_choice).any(axis=1)
    return Choices(differing=int(differing.sum()), of=size)


FACTORS = {"content": losses.CONTENT_FACTORS, "style": losses.STYLE_FACTORS}


def _energies(trace: Trace, kind: str) -> dict[str, float]:
    """Return what each term would be were the features, or the Gram matrix, zero."""
    section = trace.header.recipe[kind]
    energies = {tap: float(energy) for tap, energy in trace.under(f"energy/{kind}").items()}
    factor = FACTORS[kind][section["term"]]
    return {
        tap: section["taps"][tap] * factor(trace.tap_shape(tap), energy) * energy for tap, energy in energies.items()
    }


def _term(a: Trace, b: Trace, name: str, energy: float, profile: str) -> Measure:
    return _of_term(a.scalar(name), b.scalar(name), energy, profile)


def _of_term(ours: float, theirs: float, energy: float, profile: str) -> Measure:
    size = float(np.maximum(abs(theirs), energy))  # no number where either is none
    return _measure(finite_or_none(_over(abs(ours - theirs), size)), profile, "term")


def _totals(a: Trace, b: Trace, profile: str) -> dict[str, Measure]:
    recipe = Recipe.model_validate(b.header.recipe)
    content, style = (sum(_energies(b, kind).values()) for kind in ("content", "style"))
    energies = {
        "term/tv": 0.0,
        "total/content": content,
        "total/style": style,
        "total/loss": losses.total_loss(content, style, b.scalar("term/tv"), recipe.term_weights),
    }
    found = {name.partition("/")[2]: _term(a, b, name, energy, profile) for name, energy in energies.items()}
    runs = [run for trace in (a, b) if (run := trace.arrays.get("run/loss")) is not None and run.size]
    if len(runs) == 2:
        # A run's losses decide what it keeps; they are of another function than the judged image's. Only the first are
        # of the same image.
        found[hints.FIRST_LOSS] = _of_term(float(runs[0][0]), float(runs[1][0]), energies["total/loss"], profile)
    return found


def _trajectory(a: Trace, b: Trace, profile: str) -> Trajectory | None:
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
        ratio=Measure(error=_greatest([step.ratio for step in late], 0.0), limit=TOLERANCES.trajectory.limit, ok=ok),
    )


def _first_update(a: Trace, b: Trace, profile: str) -> Measure | None:
    ours, theirs = a.first_update(), b.first_update()
    if ours is None or theirs is None or not (np.isfinite(ours).all() or np.isfinite(theirs).all()):
        return None
    own = [
        _length_error(moved, update)
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
    limit = max(TOLERANCES.limit(profile, "update"), TOLERANCES.trajectory.limit * noise, finite_or_none(rounding) or 0)
    error = _length_error(received, expected)
    return Measure(error=error, limit=limit, ok=error is not None and error <= limit)


def _length_error(received: Array, expected: Array) -> float | None:
    if received.shape != expected.shape:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        difference, square = float(np.sum((received - expected) * expected)), float(np.sum(expected**2))
    return finite_or_none(_over(abs(difference), square)) if square or not received.any() else None


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
    return _greatest([_nudged_distance(trace, n, image) for n in _nudges(trace)])


def _nudges(trace: Trace) -> set[int]:
    return {int(name.partition("/")[0]) for name in trace.under("nudged")}


def _nudged_distance(trace: Trace, units: int, image: str) -> float | None:
    moved = trace.arrays.get(f"nudged/{units}/{image}")
    distance = None if moved is None else relative(moved, trace.arrays[f"run/{image}"])
    return None if distance is None else distance / units


def _losses(trace: Trace) -> list[float | None]:
    return [finite_or_none(loss) for loss in trace.arrays["run/loss"].tolist()]


def _failures(
    layers: list[Layer], totals: Mapping[str, Measure], gradient: Measure, trajectory: Trajectory | None
) -> Iterator[First]:
    # In the order of computation: forward, the terms at each tap, the totals, backward, then the runs.
    for layer in layers:
        for field, quantity in QUANTITIES.items():
            measure = getattr(layer, field)
            if measure and not measure.ok:
                yield First(quantity=quantity, where=layer.layer, measure=measure)
    for name, measure in totals.items():
        if not measure.ok:
            yield First(quantity="total", where=name, measure=measure)
    for layer in reversed(layers):
        if not layer.slope.ok:
            yield First(quantity="gradient by", where=layer.layer, measure=layer.slope)
    if not gradient.ok:
        yield First(quantity="gradient by", where="the image", measure=gradient)
    if trajectory:
        yield from _failures_of_run(trajectory)


def _failures_of_run(trajectory: Trajectory) -> Iterator[First]:
    limit = TOLERANCES.trajectory.limit
    if trajectory.first_update and not trajectory.first_update.ok:
        yield First(quantity="length of", where=hints.FIRST_UPDATE, measure=trajectory.first_update, step=1)
    for step in trajectory.steps:
        if not step.ok:
            measure = Measure(error=step.ratio, limit=limit, ok=False)
            yield First(quantity="image after", where=f"step {step.step}", measure=measure, step=step.step)
    lengths = [len(losses) for losses in trajectory.losses]
    if lengths[0] != lengths[1]:
        # Steps that only one side took; the other's loss was not finite.
        measure = Measure(error=float(abs(lengths[0] - lengths[1])), limit=0.0, ok=False)
        yield First(quantity="length of", where="the run", measure=measure)
    if trajectory.picture and not trajectory.picture.ok:
        step = trajectory.picture
        measure = Measure(error=step.ratio, limit=limit, ok=False)
        yield First(quantity="picture of", where="the run", measure=measure, step=step.step)
