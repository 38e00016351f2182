"""What a first difference looks like: patterns of the traps that make two implementations disagree.

A hint is a guess from the numbers, drawn only where they fit. `received` is the first side's, `expected` the second's.
"""

import itertools
from collections.abc import Callable, Mapping

import numpy as np

from compare.result import (
    BY_IMAGE,
    CONTENT_TERM,
    FIRST_LOSS,
    FIRST_UPDATE,
    GRAM,
    IMAGE,
    LENGTH,
    OUTPUT,
    PICTURE,
    SLOPE,
    SLOPE_LENGTH,
    STYLE_TERM,
    TARGET,
    TOTAL,
)
from compare.trace import Array, Trace, positions
from nst_spec import losses, preprocessing

CLOSE = 1e-4
"""How well a pattern must fit, relative to the norm: above float32's rounding, far below any fault's effect."""

FAR = 10.0
"""How many times the error of what was kept of a layer says that the rest has another."""

ROUNDING = {
    5e-6: "single precision, or a convolution that is faster and less exact (oneDNN, Winograd)",
    2e-3: "TensorFloat-32 (T10)",
    2e-2: "bfloat16",
}
"""What an error smaller than this may come from, and a fault in the formulas hardly ever does."""


def hint(a: Trace, b: Trace, quantity: str, where: str) -> str | None:
    """Return what may explain the first quantity that is out, or None.

    `quantity` and `where` are those of compare.result.First.
    """
    explain = _EXPLANATIONS[quantity]
    with np.errstate(all="ignore"):  # what is out may be infinite, or no number
        return explain(a, b, where)


def _close(received: Array, expected: Array, tolerance: float = CLOSE) -> bool:
    difference = np.linalg.norm(received.astype(np.float64) - expected)
    return bool(difference <= tolerance * np.linalg.norm(expected.astype(np.float64)))


def _output(a: Trace, b: Trace, layer: str) -> str | None:
    has_its_shape = a.header.shapes.get(layer) == b.header.shapes[layer]
    if has_its_shape and _is_between(a, b, layer):
        return f"the values kept of {layer} agree, its mean or deviation does not: nst trace --whole keeps all values"
    if layer == "input":
        return _input(a, b)
    if not has_its_shape:
        return _shape(a, b, layer)
    received, expected = (trace.sample(f"output/{layer}").astype(np.float64) for trace in (a, b))
    if not np.isfinite([*received, *expected]).all():
        return f"{layer} holds values that are not finite"
    if _close(np.maximum(received, 0), np.maximum(expected, 0)) and not _close(received, expected):
        raw = "received" if received.min() < 0 else "expected"
        return f"the {raw} values of {layer} are not rectified, the others are: tap before or after ReLU (T1)"
    channels = positions(int(np.prod(b.header.shapes[layer]))) % b.header.shapes[layer][-1]
    offset = received - expected
    means = np.bincount(channels, offset) / np.maximum(np.bincount(channels), 1)
    # Loosely, since the offset of a small bias is not much larger than the rounding of what it is added to.
    if layer.startswith("conv") and offset.any() and _close(offset, means[channels], 100 * CLOSE):
        return f"{layer} is off by a constant in each channel: its bias is dropped or another one"
    for most, arithmetic in ROUNDING.items():
        if _close(received, expected, most):
            return f"an error of this size from {layer} on looks like {arithmetic}: see the switches of both sides"
    if layer.startswith("pool"):
        return f"{layer} pools in another way: maximum against average, or incomplete windows at the border (T8)"
    if layer.startswith("relu"):
        return f"{layer} rectifies in another way: its input agrees"
    return f"the input of {layer} agrees: its kernel is transposed, or the weights differ (T9)"


def _is_between(a: Trace, b: Trace, layer: str) -> bool:
    # Whether what is out lies between the values that were kept. No mean differs by more than its values do.
    received, expected = (trace.sample(f"output/{layer}").astype(np.float64) for trace in (a, b))
    ours, theirs = (trace.arrays[f"facts/output/{layer}"][:2] for trace in (a, b))
    of_values = np.linalg.norm(received - expected) / np.linalg.norm(expected)
    of_all = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
    return bool(np.isfinite(of_values)) and not of_all <= FAR * of_values


def _shape(a: Trace, b: Trace, layer: str) -> str:
    received, expected = a.header.shapes.get(layer), b.header.shapes[layer]
    return f"shape {received} against {expected}: odd sizes are rounded down on one side and up on the other (T8)"


def _input(a: Trace, b: Trace) -> str:
    received, expected = (trace.arrays["output/input"].astype(np.float64) for trace in (a, b))
    if received.shape != expected.shape:
        return "the images have different sizes: resized differently (T11)"
    for order in itertools.permutations(range(3)):  # the identity first
        fits = [_line(expected[..., channel], received[..., c]) for c, channel in enumerate(order)]
        lines = [fit for fit in fits if fit is not None]
        if len(lines) == len(order):
            scales = ", ".join(f"{scale:.4g} x + {offset:.4g}" for scale, offset in lines)
            what = "in another pixel space" if order == (0, 1, 2) else "with other channels, BGR against RGB"
            return f"the network is fed {what} (channel by channel {scales}): preprocessing (T2, T9)"
    return "the images themselves differ: decoded or resized differently (T11)"


def _line(x: Array, y: Array) -> tuple[float, float] | None:
    # The scale and offset with which x becomes y, if any do.
    spread = x - x.mean()
    energy = float(np.sum(spread**2))
    if not energy:
        return None
    scale = float(np.sum(spread * y)) / energy
    offset = float(y.mean() - scale * x.mean())
    remainder = y - y.mean() - scale * spread
    return (scale, offset) if np.linalg.norm(remainder) <= CLOSE * np.linalg.norm(y - y.mean()) else None


def _gram(a: Trace, b: Trace, where: str) -> str | None:
    # Where the fault is in the Gram matrix itself, the judged image's are off as the target's are.
    ratios, of = _gram_ratios(a, b, "gram"), ""
    if ratios and not _off(ratios):
        ratios, of = _gram_ratios(a, b, "target"), "style image's "
    if ratios is None:
        return f"the features of {where} agree, and what is made of them is no multiple of what it should be"
    out = _off(ratios)
    if len(out) < len(ratios):
        return f"only some of the {of}Gram matrices are off by a factor ({_listed(out)})" if out else None
    used = b.header.recipe["style"]["gram"]
    named = None if of else _form(losses.GRAM_DIVISORS, used, {tap: 1 / ratio for tap, ratio in ratios.items()}, b)
    as_if = f", as if divided by {named!r} instead of {used!r}" if named else ""
    return f"every {of}Gram matrix is off by a factor ({_listed(ratios)}){as_if}: the Gram divisor (T3)"


def _gram_ratios(a: Trace, b: Trace, kind: str) -> dict[str, float] | None:
    found = {tap: _ratio(gram, b.arrays[f"{kind}/{tap}"]) for tap, gram in a.under(kind).items()}
    ratios = {tap: ratio for tap, ratio in found.items() if ratio is not None}
    return ratios if len(ratios) == len(found) else None


def _off(ratios: Mapping[str, float]) -> dict[str, float]:
    return {name: ratio for name, ratio in ratios.items() if abs(ratio - 1) > CLOSE}


def _listed(ratios: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {ratio:.4g}" for name, ratio in ratios.items())


def _ratio(received: Array, expected: Array) -> float | None:
    # The number that makes one array of the other, if any does.
    expected = expected.astype(np.float64)
    energy = float(np.sum(expected**2))
    ratio = float(np.sum(received * expected)) / energy if energy else 0.0
    return ratio if ratio and np.isfinite(ratio) and _close(received / ratio, expected) else None


def _form(
    forms: Mapping[str, Callable[..., float]], used: str, ratios: Mapping[str, float], trace: Trace, kind: str = ""
) -> str | None:
    # The form whose value over the used one's is the given ratio at every tap.
    for name, form in forms.items():
        fits = []
        for tap, ratio in ratios.items():
            arguments = (trace.tap_shape(tap), *([trace.scalar(f"energy/{kind}/{tap}")] if kind else []))
            wanted = ratio * forms[used](*arguments)
            fits.append(abs(form(*arguments) - wanted) <= CLOSE * abs(wanted))
        if name != used and all(fits):
            return name
    return None


def _term(kind: str, forms: Mapping[str, Callable[..., float]]) -> Callable[[Trace, Trace, str], str | None]:
    def explain(a: Trace, b: Trace, where: str) -> str | None:
        received, expected = a.under(f"term/{kind}"), b.under(f"term/{kind}")
        ratios = {tap: float(received[tap] / expected[tap]) for tap in expected if expected[tap]}
        out = _off(ratios)
        if not out or not np.isfinite(list(out.values())).all():
            return None
        if len(out) < len(ratios):
            return f"some {kind} terms are off, by a factor each ({_listed(out)}): the weight of a tap"
        used = b.header.recipe[kind]["term"]
        named = _form(forms, used, ratios, b, kind)
        as_if = f", as if their form were {named!r} instead of {used!r}" if named else ""
        return (
            f"every {kind} term is off by a factor ({_listed(ratios)}){as_if}, "
            "while what it compares agrees: its divisor (T4)"
        )

    return explain


def _total(a: Trace, b: Trace, where: str) -> str | None:
    if where == "tv":
        received = a.scalar("term/tv")
        used = b.header.recipe["tv"]["form"]
        variable = preprocessing.affine("unit", b.header.recipe["space"])(b.arrays["image"].astype(np.float64))
        for space in preprocessing.SPACES:
            moved = preprocessing.affine(b.header.recipe["space"], space)(variable)
            for form in losses.TV_FORMS:
                if abs(losses.total_variation(moved, form)[0] - received) <= CLOSE * abs(received):
                    expected = f"{used!r} in {b.header.recipe['space']!r}"
                    return f"the total variation is that of form {form!r} in space {space!r}, expected {expected} (T2)"
        return "the total variation has another form, or another pixel space (T2)"
    if where == FIRST_LOSS:
        return "the judged image's loss agrees: what a run evaluates is another"
    if where == "loss":
        return "every term agrees: alpha, beta or the total variation's weight is another"
    return "every term agrees, their sum does not"


def _slope(a: Trace, b: Trace, where: str) -> str | None:
    if where == BY_IMAGE:
        return (
            "the network's part of the gradient agrees: the total variation's gradient, or the way back from the "
            "optimised pixel space (T2)"
        )
    layers = list(b.header.shapes)
    after = layers[layers.index(where) + 1] if where != layers[-1] else None
    if after is None:
        return f"the slope of the terms at {where}: what they compare agrees"
    if after.startswith("pool"):
        ties = int(b.arrays[f"ties/{after}"]) if f"ties/{after}" in b.arrays else 0
        if ties:
            return f"{after} gives the gradient of {ties} windows with equal maxima to other members (T7)"
        return f"the way back through {after}, whose output agrees"
    if after.startswith("relu"):
        return f"the way back through {after}, whose output agrees: its slope where the input is not positive"
    return f"the way back through {after}, whose output agrees: its backward pass uses the kernel in another way"


def _run(a: Trace, b: Trace, where: str) -> str | None:
    kind = b.header.recipe["optimizer"]["kind"]
    ours, theirs = a.first_update(), b.first_update()
    if ours is None or theirs is None:
        return None
    if b.header.recipe["clamp"] == "each-step" and _leaves_the_box(a) and not _leaves_the_box(b):
        return "a step ends with images beyond black or white: the clamp is missing or too wide"
    ratios = [_ratio(ours[..., c], theirs[..., c]) for c in range(3)]
    if None not in ratios and any(abs(ratio - 1) > CLOSE for ratio in ratios if ratio):
        factors = ", ".join(f"{ratio:.4g}" for ratio in ratios if ratio)
        return f"the first update has the right direction and another length ({factors} in R, G, B): {_LENGTHS[kind]}"
    if None not in ratios:
        return f"the first update agrees, later ones do not: {_LATER[kind]}"
    return f"every term and gradient agrees, the first update does not: {_LENGTHS[kind]}"


def _leaves_the_box(trace: Trace) -> bool:
    steps = [image for step, image in trace.under("run/image").items() if step != "0"]
    return any(image.min() < -CLOSE or image.max() > 1 + CLOSE for image in steps)


_LENGTHS = {
    "adam": "the learning rate, the space that is optimised (T2), or where Adam's epsilon stands (T5)",
    "lbfgs": "the first step of L-BFGS is min(1, 1/|g|_1) * lr (T6), or another space is optimised (T2)",
    "sgd": "the learning rate, or the space that is optimised (T2)",
}
_LATER = {
    "adam": "the betas, their correction, or where Adam's epsilon stands (T5)",
    "lbfgs": "the history or the curvature condition of L-BFGS (T6)",
    "sgd": "the decay of the learning rate",
}


def _length(a: Trace, b: Trace, where: str) -> str | None:
    return _run(a, b, where) if where == FIRST_UPDATE else "the loss of one side is not finite after its last step"


_EXPLANATIONS: Mapping[str, Callable[[Trace, Trace, str], str | None]] = {
    OUTPUT.at: _output,
    TARGET.at: _gram,
    GRAM.at: _gram,
    CONTENT_TERM.at: _term("content", losses.CONTENT_FACTORS),
    STYLE_TERM.at: _term("style", losses.STYLE_FACTORS),
    TOTAL: _total,
    SLOPE.at: _slope,
    SLOPE_LENGTH.at: _slope,
    IMAGE: _run,
    LENGTH: _length,
    PICTURE: lambda a, b, where: "every step agrees: the best image is another, or the last clamp is missing",
}
