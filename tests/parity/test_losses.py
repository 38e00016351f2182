"""Every loss of both backends and its gradient, on what hypothesis thinks of, against the formula of the spec."""

import dataclasses
import functools
import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nst_spec import backend as backends
from nst_spec import generator
from nst_spec import losses as spec
from nst_spec.errors import NstError
from tests.conftest import make_problem

SHAPES = st.tuples(st.integers(2, 6), st.integers(2, 6), st.integers(1, 4))
VALUES = st.floats(-100, 100, allow_subnormal=False)
IMAGES = SHAPES.flatmap(lambda shape: arrays(np.float64, (*shape[:2], 3), elements=VALUES))
PAIRS = SHAPES.flatmap(lambda shape: st.tuples(*[arrays(np.float64, shape, elements=VALUES)] * 2))
FACTORS = st.floats(1e-6, 1e6)
quick = settings(max_examples=25)


def differentiated(backend_name, function, array, dtype="float64"):
    """The value of a function of native features or of the native variable, and its gradient, both neutral."""
    module = importlib.import_module(f"nst_{backend_name}.losses")
    if backend_name == "torch":
        import torch

        x = torch.tensor(array, dtype=getattr(torch, dtype)).permute(2, 0, 1)[None].contiguous().requires_grad_()
        value = function(module, x)
        (gradient,) = torch.autograd.grad(value, x)
        return value.item(), gradient[0].permute(1, 2, 0).double().numpy()
    import tensorflow as tf

    x = tf.constant(array[None], dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(module, x)
    return float(value), tf.cast(tape.gradient(value, x)[0], "float64").numpy()


def native(backend_name, array, like):
    """A neutral array (H, W, C) or (C, C) as the backend has it."""
    if backend_name == "torch":
        tensor = like.new_tensor(array)
        return tensor if array.ndim == 2 else tensor.permute(2, 0, 1)[None]
    return array if array.ndim == 2 else array[None]


def check_same(received, expected, scale):
    value, gradient = expected
    assert received[0] == pytest.approx(value, rel=1e-11, abs=1e-11 * scale)
    np.testing.assert_allclose(received[1], gradient, rtol=1e-11, atol=1e-11 * np.abs(gradient).max(initial=0))


@quick
@given(PAIRS, FACTORS)
def test_squared_errors(backend_name, pair, factor):
    values, target = pair
    received = differentiated(
        backend_name, lambda losses, x: losses.squared_error(x, native(backend_name, target, x), factor), values
    )
    check_same(received, spec.squared_error(values, target, factor), scale=0)


@quick
@given(PAIRS, st.floats(1, 1e6))
def test_gram_matrices(backend_name, pair, divisor):
    features, other = pair
    target = np.resize(other, (features.shape[-1],) * 2)
    received = differentiated(
        backend_name,
        lambda losses, x: losses.squared_error(losses.gram(x, divisor), native(backend_name, target, x), 1.0),
        features,
    )
    gram = spec.gram(features, divisor)
    value, slope = spec.squared_error(gram, target, 1.0)
    scale = float(np.sum(gram**2 + target**2))
    check_same(received, (value, spec.gram_pull_back(features, divisor, slope)), scale)


def test_gram_matrices_of_bfloat16_are_summed_in_float32(backend_name):
    features = np.round(16 * generator.uniform(1, (16, 12, 8)))  # few enough digits for bfloat16 to hold them
    target = np.zeros((8, 8))
    received = differentiated(
        backend_name,
        lambda losses, x: losses.squared_error(losses.gram(x, 2.0), native(backend_name, target, x), 1.0),
        features,
        "bfloat16",
    )
    value, slope = spec.squared_error(spec.gram(features, 2.0), target, 1.0)
    assert received[0] == pytest.approx(value, rel=1e-6)
    np.testing.assert_allclose(received[1], spec.gram_pull_back(features, 2.0, slope), rtol=2**-6)


@quick
@given(IMAGES)
@pytest.mark.parametrize("form", spec.TV_FORMS)
def test_total_variations(backend_name, form, image):
    received = differentiated(backend_name, lambda losses, x: losses.total_variation(x, form), image)
    check_same(received, spec.total_variation(image, form), scale=0)


@pytest.mark.parametrize("form", spec.TV_FORMS)
def test_the_total_variation_of_a_large_image_is_added_up_without_loss(backend_name, form, device, narrow_weights):
    # XLA adds a million numbers one after the other, and what is small beside the sum is lost.
    image = generator.uniform(1, (512, 512, 3)).astype("float32")
    shallow = {"content.taps": "conv1_1", "style.taps": "conv1_1", "tv.form": form, "space": "unit"}
    problem = make_problem("default", narrow_weights, image, image, dtype="float32", **shallow)
    received = backends.load(backend_name, device=device).objective(problem).evaluate(image).losses.tv
    expected, _ = spec.total_variation(image.astype(np.float64), form)
    assert received == pytest.approx(expected, rel=5e-7)


@pytest.mark.parametrize(("size", "gram"), [(1e6, "none"), (1e-14, "positions")])
def test_a_term_whose_factor_the_run_cannot_hold_does_not_silently_vanish(
    size, gram, backend_name, device, narrow_weights
):
    arrays = narrow_weights.arrays
    scaled = {"conv1_1.weight": size * arrays["conv1_1.weight"], "conv1_1.bias": 0 * arrays["conv1_1.bias"]}
    wild = dataclasses.replace(narrow_weights, arrays={**arrays, **scaled})
    image = generator.uniform(1, (24, 32, 3))
    shallow = {"content.taps": {}, "style.taps": "relu1_1", "style.gram": gram, "style.term": "energy"}
    double, single = (
        make_problem("default", wild, image, image[:, ::-1], dtype=dtype, **shallow) for dtype in ("float64", "float32")
    )
    load = functools.partial(backends.load, backend_name, device=device)
    assert load(dtype="float64").objective(double).evaluate(image).losses.style > 0
    with pytest.raises(NstError, match=r"style term at relu1_1: its factor is .*which float32 does not hold; use"):
        load().objective(single)
