"""Planted faults: every trap of the field, one at a time, in one backend. The comparison must fail and name the place.

A comparison that cannot fail is worth nothing. Each fault names the recipe, the size and the images on which it shows.
"""

import dataclasses
import functools
import importlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from compare.diff import diff, wants_closer_look
from compare.record import record
from nst_spec import backend as backends
from nst_spec import generator, preprocessing, recipe, tiles, weights
from nst_spec.images import Picture
from nst_spec.inputs import Inputs
from tests.conftest import NARROW, smooth_image

SMOOTH = smooth_image(40, 56, 1), smooth_image(48, 44, 2)
ODD = smooth_image(37, 51, 1), smooth_image(48, 44, 2)


def blocks(seed):
    """Flat squares of 8 pixels, on whose equal activations maximum pooling ties."""
    return np.repeat(np.repeat(generator.integers(seed, 35).reshape(5, 7, 1) % 5 / 4.0, 8, axis=0), 8, axis=1).repeat(
        3, axis=2
    )


FLAT = blocks(1), blocks(2)


@dataclasses.dataclass(frozen=True)
class Fault:
    """What is planted, on what it shows, and what the comparison must say.

    `change` maps the problem that the backend is given to the one that it wrongly computes; `plant` is for faults that
    no recipe can describe: it patches the backend's modules.
    """

    recipe: str
    quantity: str
    where: str
    hint: str
    change: Callable | None = None
    plant: Callable | None = None
    settings: dict = dataclasses.field(default_factory=dict)
    images: tuple = SMOOTH
    dtype: str = "float32"
    precision: str = "fp32"
    steps: int = 0
    tile: int | str = "off"


def as_if(**settings):
    """The backend computes as if the recipe said something else."""
    settings = {key.replace("__", "."): value for key, value in settings.items()}
    return lambda problem: dataclasses.replace(problem, recipe=recipe.override(problem.recipe, settings))


def with_array(name, change):
    """The backend has another array in its weights."""

    def changed(problem):
        arrays = dict(problem.weights.arrays)
        arrays[name] = change(arrays[name])
        return dataclasses.replace(problem, weights=dataclasses.replace(problem.weights, arrays=arrays))

    return changed


def other_weights(problem):
    return dataclasses.replace(problem, weights=weights.random_weights(NARROW, seed=1))


def rounded_weights(problem):
    """Eleven bits, as TensorFloat-32 keeps."""
    arrays = {}
    for name, array in problem.weights.arrays.items():
        fraction, exponent = np.frexp(array)
        arrays[name] = np.ldexp(np.round(fraction * 2**11) / 2**11, exponent).astype(np.float32)
    return dataclasses.replace(problem, weights=dataclasses.replace(problem.weights, arrays=arrays))


def raw_taps_rectified(monkeypatch, package):
    """The ReLU works in place, or the convolution rectifies its own output."""
    network = importlib.import_module(f"{package}.network").Network
    method = "forward" if package == "nst_torch" else "__call__"
    original = getattr(network, method)

    def faulty(self, x, wanted=None):
        for layer, v in original(self, x, wanted):
            yield layer, (v + abs(v)) / 2 if layer.startswith("conv") else v

    monkeypatch.setattr(network, method, faulty)


def rectified_taps_raw(monkeypatch, package):
    """The tap is taken from the convolution that comes before its ReLU."""
    network = importlib.import_module(f"{package}.network").Network
    method = "forward" if package == "nst_torch" else "__call__"
    original = getattr(network, method)

    def faulty(self, x, wanted=None):
        wanted = self.taps if wanted is None else wanted
        raw = {layer: layer.replace("relu", "conv") for layer in wanted}
        features = dict(original(self, x, [*wanted, *raw.values()]))
        yield from ((layer, features[raw[layer]]) for layer in wanted)

    monkeypatch.setattr(network, method, faulty)


def rgb_for_bgr(monkeypatch, package):
    original = preprocessing.affine

    def faulty(source, target):
        return dataclasses.replace(original(source, target), order=(0, 1, 2))

    monkeypatch.setattr(preprocessing, "affine", faulty)


def resized_bilinearly(monkeypatch, package):
    """The network is fed an image from another resampler than everybody's."""
    objective = importlib.import_module(f"{package}.objective").Objective
    original = objective.passes

    def faulty(self, image):
        height, width = image.shape[:2]
        channels = [Image.fromarray(np.float32(channel)) for channel in np.moveaxis(image, -1, 0)]
        for size in ((width - 4, height - 4), (width, height)):
            channels = [channel.resize(size, Image.Resampling.BILINEAR) for channel in channels]
        return original(self, np.stack(channels, axis=-1).astype(image.dtype))

    monkeypatch.setattr(objective, "passes", faulty)


def pooling_as(monkeypatch, package, computed):
    """Every pooling gives what `computed` makes of its layer and the input, in the framework's own operations."""
    network = importlib.import_module(f"{package}.network")
    original = network._pooling_layer
    if package == "nst_torch":
        import torch

        class Other(torch.nn.Module):
            def __init__(self, layer):
                super().__init__()
                self.layer = layer

            def forward(self, x):
                return computed(self.layer, x)

        monkeypatch.setattr(network, "_pooling_layer", lambda pooling: Other(original(pooling)))
    else:

        def faulty(pooling, **settings):
            layer = original(pooling, **settings)
            return lambda x: layer(x) if hasattr(x, "_keras_history") else computed(layer, x)

        monkeypatch.setattr(network, "_pooling_layer", faulty)


def last_of_equals(monkeypatch, package):
    """Of equal maxima the last one receives the gradient."""
    if package == "nst_torch":
        turn = lambda x: x.flip(2, 3)  # noqa: E731
    else:
        import tensorflow as tf

        turn = lambda x: tf.reverse(x, axis=[1, 2])  # noqa: E731
    pooling_as(monkeypatch, package, lambda layer, x: turn(layer(turn(x))))


def too_long(monkeypatch, package):
    """The way back through a pooling gives more than it should, and the way forward what it should."""
    if package == "nst_torch":
        held = lambda x: x.detach()  # noqa: E731
    else:
        import tensorflow as tf

        held = tf.stop_gradient

    def longer(layer, x):
        y = layer(x)
        return y + 0.3 * (y - held(y))

    pooling_as(monkeypatch, package, longer)


def subtract(variable, step):
    (variable.sub_ if hasattr(variable, "sub_") else variable.assign_sub)(step)


def gradient_step_first(monkeypatch, package):
    """L-BFGS takes its first step along the whole gradient, not along min(1, 1/|g|_1) of it."""
    optimizers = importlib.import_module(f"{package}.optimizers")

    def plant(rule):
        original = rule.update

        def faulty(self, gradient):
            if getattr(self, "moved", False):
                return original(self, gradient)
            self.moved = True
            return subtract(self.variable, 0.1 * gradient)

        monkeypatch.setattr(rule, "update", faulty)

    plant(optimizers.LBFGS)
    if package == "nst_torch":
        plant(optimizers._CompactLBFGS)


def epsilon_under_the_root(monkeypatch, package):
    rule = importlib.import_module(f"{package}.optimizers").Adam

    def faulty(self, gradient):
        s, g = self.settings, gradient
        self.t += 1
        self.m = s.beta1 * (self.m if self.t > 1 else 0) + (1 - s.beta1) * g
        self.v = s.beta2 * (self.v if self.t > 1 else 0) + (1 - s.beta2) * g * g
        root = (self.v / (1 - s.beta2**self.t) + s.epsilon) ** 0.5
        step = s.lr / (1 - s.beta1**self.t) * self.m / root
        return subtract(self.variable, step)

    monkeypatch.setattr(rule, "update", faulty)


def narrow_margin(monkeypatch, package):
    """Tiles are computed from a crop that is narrower than what their features depend on."""
    original = tiles.margin
    monkeypatch.setattr(tiles, "margin", lambda taps: original(taps) - tiles.GRID)


SHALLOW = {"content.taps": "relu2_1", "style.taps": "relu1_1,relu2_1"}

FAULTS = {
    "T1: raw tap rectified": Fault("pytorch-tutorial", "output of", "conv1_1", "T1", plant=raw_taps_rectified),
    "T1: rectified tap raw": Fault("gatys2016", "output of", "relu1_1", "T1", plant=rectified_taps_raw),
    "T2: optimised in another space": Fault(
        "udacity2018", "total", "tv", "space 'unit'", change=as_if(space="unit"), steps=8
    ),
    "T2: another step": Fault(
        "udacity2018",
        "length of",
        "the first update",
        "T2",
        change=as_if(optimizer__lr=0.003 / 0.229),
        steps=8,
    ),
    "a rate that is a hundredth off": Fault(
        "tf-tutorial", "length of", "the first update", "rate", change=as_if(optimizer__lr=0.0202), steps=8
    ),
    "another decay of the moments": Fault(
        "tf-tutorial", "image after", "step 5", "the betas", change=as_if(optimizer__beta1=0.9), steps=8
    ),
    "another history of L-BFGS": Fault(
        "default", "image after", "step 5", "the history", change=as_if(optimizer__history=3), steps=8, dtype="float64"
    ),
    "T3: Gram divisor": Fault(
        "gatys2016",
        "target Gram matrix of",
        "relu1_1",
        "as if divided by 'elements'",
        change=as_if(style__gram="elements"),
    ),
    "T4: style-term divisor": Fault(
        "gatys2016", "style term of", "relu1_1", "form were 'mean'", change=as_if(style__term="mean")
    ),
    "T5: Adam's epsilon, the other convention": Fault(
        "dye2023",
        "length of",
        "the first update",
        "T5",
        change=as_if(optimizer__convention="hat"),
        steps=2,
        dtype="float64",
    ),
    "epsilon under the root": Fault(
        "dye2023", "length of", "the first update", "T5", plant=epsilon_under_the_root, steps=2, dtype="float64"
    ),
    "T6: first step of L-BFGS": Fault(
        "gatys-notebook", "length of", "the first update", "T6", plant=gradient_step_first, steps=2, dtype="float64"
    ),
    "T7: ties": Fault(
        "pytorch-blog", "gradient by", "relu1_2", "T7", plant=last_of_equals, images=FLAT, settings=SHALLOW
    ),
    "T8: odd sizes": Fault(
        "pytorch-blog", "output of", "pool1", "T8", change=as_if(pooling__rounding="ceil"), images=ODD
    ),
    "T9: other weights": Fault("gatys2016", "output of", "conv1_1", "T9", change=other_weights),
    "T9: other preprocessing": Fault(
        "gatys2016",
        "output of",
        "input",
        "T9",
        change=lambda problem: dataclasses.replace(problem, preprocessing="caffe-256"),
    ),
    "RGB for BGR": Fault("tf-tutorial", "output of", "input", "BGR", plant=rgb_for_bgr),
    "T10: TensorFloat-32": Fault("gatys2016", "output of", "conv1_1", "T10", change=rounded_weights),
    "T11: another resampler": Fault(
        "gatys2016", "output of", "input", "resized differently (T11)", plant=resized_bilinearly
    ),
    "transposed kernel": Fault(
        "gatys2016",
        "output of",
        "conv3_2",
        "transposed",
        change=with_array("conv3_2.weight", lambda kernel: kernel.transpose(0, 1, 3, 2)),
    ),
    "swapped channels of a kernel": Fault(
        "gatys2016",
        "output of",
        "conv2_1",
        "transposed",
        change=with_array("conv2_1.weight", lambda kernel: kernel[:, ::-1].copy()),
    ),
    "dropped bias": Fault(
        "gatys2016", "output of", "conv2_2", "bias", change=with_array("conv2_2.bias", np.zeros_like)
    ),
    "average for maximum pooling": Fault(
        "pytorch-blog", "output of", "pool1", "pools in another way", change=as_if(pooling__kind="average")
    ),
    "weight of a tap": Fault(
        "gatys2016",
        "style term of",
        "relu3_1",
        "weight of a tap",
        change=as_if(style__taps="relu1_1,relu2_1,relu3_1=0.3,relu4_1,relu5_1"),
    ),
    "content term": Fault(
        "gatys2016", "content term of", "relu4_2", "form were 'sum'", change=as_if(content__term="sum")
    ),
    "form of the total variation": Fault("default", "total", "tv", "form 'l1'", change=as_if(tv__form="l1")),
    "a gradient that is too long, in bfloat16": Fault(
        "gatys2016", "length of the gradient by", "relu4_4", "through pool4", plant=too_long, precision="bf16"
    ),
    "margin of the tiles": Fault(
        "gatys2016", "target Gram matrix of", "relu1_1", "no multiple", plant=narrow_margin, tile=16, settings=SHALLOW
    ),
    "alpha": Fault("gatys2016", "total", "loss", "alpha", change=as_if(alpha=2.0)),
}


def traced(fault, backend, weight_set, closer=False):
    content, style = (Picture(image, f"{number}.png", "") for number, image in enumerate(fault.images))
    chosen = recipe.override(
        recipe.load(fault.recipe),
        {"size.rule": "long-edge", "size.pixels": max(fault.images[0].shape), "steps": fault.steps} | fault.settings,
    )
    space = weights.preprocessing_for(chosen.preprocessing, chosen.weights, weight_set)
    flat = sum(FLAT) / 2 if fault.images is FLAT else None
    inputs = Inputs(content, (style,), weight_set, space)
    return record(backend, chosen, inputs, version="0", image=flat, closer=closer)


def coarse(weight_set):
    """Weights of few bits, so that what is flat stays exactly flat whatever the order of summation."""
    arrays = {name: np.round(array * 8) / 8 for name, array in weight_set.arrays.items()}
    return dataclasses.replace(weight_set, arrays=arrays)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_caught_and_named(name, device, backend_name, narrow_weights, monkeypatch):
    fault = FAULTS[name]
    settings = {"dtype": fault.dtype, "precision": fault.precision, "tile": fault.tile}
    backend = functools.partial(backends.load, backend_name, device=device, **settings)
    weight_set = coarse(narrow_weights) if fault.images is FLAT else narrow_weights
    reference = backends.load("reference", dtype=fault.dtype)
    oracle = traced(fault, reference, weight_set)
    healthy = diff(traced(fault, backend(), weight_set), oracle)
    if wants_closer_look(healthy):
        healthy = diff(*(traced(fault, each, weight_set, closer=True) for each in (backend(), reference)))
    assert healthy.ok, f"without the fault: {healthy.first}"

    package = {"torch": "nst_torch", "tf": "nst_tf"}[backend_name]
    if fault.plant:
        fault.plant(monkeypatch, package)
    else:
        module = importlib.import_module(f"{package}.backend")
        original = module.Objective

        def changed(problem, *rest, **named):
            return original(fault.change(problem), *rest, **named)

        monkeypatch.setattr(module, "Objective", changed)
    found = diff(traced(fault, backend(), weight_set), oracle)
    assert not found.ok
    assert (found.first.quantity, found.first.where) == (fault.quantity, fault.where), f"{found.first}: {found.hint}"
    assert fault.hint in (found.hint or "")
