"""Comparing two traces: every error beside its limit, a verdict, and the first place where they part."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from compare import hints, trajectory
from compare.distance import greatest, length_error, over, relative
from compare.facts import differing, recipe_facts
from compare.result import (
    BY_IMAGE,
    FIRST_LOSS,
    FORWARD,
    SLOPE,
    SLOPE_LENGTH,
    TOTAL,
    Choices,
    Comparison,
    First,
    Layer,
    Measure,
    Trajectory,
)
from compare.tolerances import TOLERANCES, Limited
from compare.trace import START, Array, Trace, choice_bits
from nst_spec import losses
from nst_spec.backend import finite_or_none
from nst_spec.errors import NstError
from nst_spec.recipe import Recipe


def diff(a: Trace, b: Trace) -> Comparison:
    """Return how far trace `a` is from trace `b`.

    Raises NstError, naming everything that differs, for traces of different recipes, weights, inputs or sizes.
    """
    check_comparable(a, b)
    profile = profile_of(a, b)
    layers = _layers(a, b, profile)
    flips = sum(layer.choices.differing for layer in layers if layer.choices)
    totals = _totals(a, b, profile)
    gradients = a.arrays["gradient"], b.arrays["gradient"]
    gradient = _measure(relative(*gradients), profile, "flipped-gradient" if flips else "gradient")
    gradient_length = _measure(length_error(*gradients), profile, "length")
    run = trajectory.compared(a, b, profile)
    first = next(_failures(layers, totals, gradient, gradient_length, run), None)
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
        gradient_length=gradient_length,
        trajectory=run,
        first=first,
        hint=hints.hint(a, b, first.quantity, first.where) if first else None,
        ok=first is None,
    )


def profile_of(a: Trace, b: Trace) -> str:
    """Return the name of the limits that two traces are held to: those of the one that rounds the most."""
    sides = a.header.environment, b.header.environment
    precisions = {side.precision for side in sides} - {"fp32"}
    if precisions:
        # bf16 keeps 8 bits, tf32 11; the names sort so.
        return min(precisions)
    dtype = sides[0].dtype
    return "fast" if dtype == "float32" and any(side.fast for side in sides) else dtype


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
    if first is None or any(side.precision != "fp32" for side in comparison.sides):
        return False
    loosened = first.measure.limit == TOLERANCES.limit(comparison.profile, "flipped-gradient")
    # Of a gradient within its limit only such a choice can leave another length.
    a_slope = first.quantity == SLOPE_LENGTH.at or (first.quantity == SLOPE.at and loosened)
    return first.step is not None or a_slope


def _measure(error: float | None, profile: str, quantity: Limited) -> Measure:
    limit = TOLERANCES.limit(profile, quantity)
    return Measure(error=error, limit=limit, ok=error is not None and error <= limit)


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
                slope_length=_measure(_length_of_slope(a, b, layer), profile, "length"),
                choices=choices,
                **measures,
            )
        )
        # A gradient passes through the choices of every layer after its own.
        flipped = flipped or bool(choices and choices.differing)
    return found[::-1]


def _of_layer(a: Trace, b: Trace, kind: str, layer: str) -> float | None:
    kept = _kept(a, b, kind, layer)
    if kept is None:
        return None
    # Mean and deviation of the whole map tell what the samples may miss; both are judged beside the map's own size.
    ours, theirs = (trace.arrays[f"facts/{kind}/{layer}"] for trace in (a, b))
    size = float(np.hypot(theirs[0], theirs[1]))
    of_facts = (finite_or_none(over(abs(float(x - y)), size)) for x, y in zip(ours[:2], theirs[:2], strict=True))
    return greatest([relative(*kept), *of_facts])


def _length_of_slope(a: Trace, b: Trace, layer: str) -> float | None:
    kept = _kept(a, b, "slope", layer)
    return None if kept is None else length_error(*kept)


def _kept(a: Trace, b: Trace, kind: str, layer: str) -> tuple[Array, Array] | None:
    """Return a layer's values that both sides have; None for different shapes."""
    if a.header.shapes.get(layer) != b.header.shapes[layer]:
        return None
    name = f"{kind}/{layer}"
    ours, theirs = a.arrays[name], b.arrays[name]
    return (ours, theirs) if ours.ndim == theirs.ndim else (a.sample(name), b.sample(name))


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
    return _measure(finite_or_none(over(abs(ours - theirs), size)), profile, "term")


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
        found[FIRST_LOSS] = _of_term(float(runs[0][0]), float(runs[1][0]), energies["total/loss"], profile)
    return found


def _failures(
    layers: list[Layer],
    totals: Mapping[str, Measure],
    gradient: Measure,
    gradient_length: Measure,
    run: Trajectory | None,
) -> Iterator[First]:
    # In the order of computation: forward, the terms at each tap, the totals, backward, then the runs.
    for layer in layers:
        for quantity in FORWARD:
            measure = getattr(layer, quantity.field)
            if measure and not measure.ok:
                yield First(quantity=quantity.at, where=layer.layer, measure=measure)
    for name, measure in totals.items():
        if not measure.ok:
            yield First(quantity=TOTAL, where=name, measure=measure)
    slopes = [(layer.layer, layer.slope, layer.slope_length) for layer in reversed(layers)]
    for where, slope, length in [*slopes, (BY_IMAGE, gradient, gradient_length)]:
        for quantity, measure in ((SLOPE, slope), (SLOPE_LENGTH, length)):
            if not measure.ok:
                yield First(quantity=quantity.at, where=where, measure=measure)
    if run:
        yield from trajectory.failures(run)
