"""Both backends against the oracle: every recipe, term, Gram matrix, gradient, and twenty steps of each optimiser."""

import numpy as np
import pytest

from nst_spec import backend as backends
from nst_spec import recipe, reference, vgg19
from tests.conftest import make_problem, relative, smooth_image

FLOAT64 = 1e-11
FLOAT32_FEATURES = 2e-6
FLOAT32_TERM = 5e-6
FLOAT32_GRADIENT = 1e-5
FLOAT32_GRADIENT_FLIPPED = 1e-2

# Odd, tall, wide, not multiples of 16, and the smallest legal.
SIZES = [(35, 50), (64, 17), (16, 16), (48, 32)]


def compare(received, expected, problem, tolerance_gram, tolerance_term):
    assert set(received.grams) == set(problem.recipe.style.taps)
    for tap in problem.recipe.style.taps:
        assert relative(received.grams[tap], expected.grams[tap]) <= tolerance_gram, f"gram/{tap}"
        assert relative(received.targets[tap], expected.targets[tap]) <= tolerance_gram, f"target/{tap}"
    for kind in ("content_terms", "style_terms"):
        for tap, value in getattr(expected.losses, kind).items():
            # A term that is nearly zero is judged beside the energy that it is a difference of.
            scale = max(abs(value), energy(problem, kind, tap))
            assert abs(getattr(received.losses, kind)[tap] - value) <= tolerance_term * scale, f"{kind}/{tap}"
    assert received.losses.tv == pytest.approx(expected.losses.tv, rel=tolerance_term)


def energy(problem, kind, tap):
    oracle = reference.Objective(problem)
    if kind == "content_terms":
        return oracle.content_factors[tap] * np.sum(oracle.content_targets[tap] ** 2)
    return oracle.style_factors[tap] * np.sum(oracle.style_targets[tap] ** 2)


@pytest.mark.parametrize("name", recipe.names())
def test_every_recipe_in_float64(name, backend, narrow_weights):
    content, style, image = smooth_image(35, 50, 1), smooth_image(40, 33, 2), smooth_image(35, 50, 3)
    problem = make_problem(name, narrow_weights, content, style)
    received, expected = backend().objective(problem).evaluate(image), reference.Objective(problem).evaluate(image)
    compare(received, expected, problem, FLOAT64, FLOAT64)
    assert relative(received.gradient, expected.gradient) <= FLOAT64
    assert received.losses.total == pytest.approx(expected.losses.total, rel=FLOAT64)
    assert expected.losses.total > 0


@pytest.mark.parametrize("name", recipe.names())
def test_every_recipe_in_float32(name, backend, narrow_weights):
    content, style, image = (smooth_image(35, 50, seed).astype(np.float32) for seed in (1, 2, 3))
    problem = make_problem(name, narrow_weights, content, style, dtype="float32")
    received, expected = backend("float32").objective(problem), reference.Objective(problem)
    compare(received.evaluate(image), expected.evaluate(image), problem, FLOAT32_FEATURES, FLOAT32_TERM)
    outputs, oracle_outputs = received.passes(image).outputs, expected.passes(image).outputs
    for layer in outputs:
        assert relative(outputs[layer], oracle_outputs[layer]) <= FLOAT32_FEATURES, layer
    error = relative(received.evaluate(image).gradient, expected.evaluate(image).gradient)
    is_flipped = flipped(outputs, oracle_outputs, problem)
    assert error <= (FLOAT32_GRADIENT_FLIPPED if is_flipped else FLOAT32_GRADIENT)


def flipped(ours, theirs, problem):
    """How many ReLU and pooling choices differ."""
    count = 0
    for layer in set(ours) & set(vgg19.CONVOLUTIONS):
        count += int(np.sum((ours[layer] > 0) != (theirs[layer] > 0)))
        if problem.recipe.pooling.kind == "max":
            choices = [winners(np.maximum(features[layer], 0)) for features in (ours, theirs)]
            count += int(np.sum(choices[0] != choices[1]))
    return count


def winners(x):
    h, w = x.shape[0] // 2 * 2, x.shape[1] // 2 * 2
    return np.stack([x[i:h:2, j:w:2] for i in (0, 1) for j in (0, 1)]).argmax(axis=0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize("rounding", ["floor", "ceil"])
def test_every_size_and_pooling(size, kind, rounding, backend, narrow_weights):
    content, style, image = (smooth_image(*size, seed) for seed in (1, 2, 3))
    settings = {"pooling.kind": kind, "pooling.rounding": rounding, "content.taps": "relu5_4"}
    problem = make_problem("gatys2016", narrow_weights, content, style, **settings)
    received, expected = backend().objective(problem).evaluate(image), reference.Objective(problem).evaluate(image)
    compare(received, expected, problem, FLOAT64, FLOAT64)
    assert relative(received.gradient, expected.gradient) <= FLOAT64


@pytest.mark.parametrize("taps", ["conv", "relu"])
def test_every_tap(taps, backend, narrow_weights):
    chosen = [tap for tap in vgg19.TAPS if tap.startswith(taps)]
    images = [smooth_image(33, 33, seed) for seed in (1, 2, 3)]
    problem = make_problem("default", narrow_weights, *images[:2], **{"content.taps": chosen, "style.taps": chosen})
    received, expected = backend().objective(problem), reference.Objective(problem)
    compare(received.evaluate(images[2]), expected.evaluate(images[2]), problem, FLOAT64, FLOAT64)
    ours, theirs = received.passes(images[2]), expected.passes(images[2])
    assert list(ours.outputs) == list(ours.gradients) == ["input", *vgg19.layers_to(chosen)]
    for layer in ours.outputs:
        assert relative(ours.outputs[layer], theirs.outputs[layer]) <= FLOAT64, layer
        assert relative(ours.gradients[layer], theirs.gradients[layer]) <= FLOAT64, layer


def awkward(kind, size=32):
    y, x = np.mgrid[0:size, 0:size]
    values = {
        "black": np.zeros((size, size)),
        "white": np.ones((size, size)),
        "grey": np.full((size, size), 0.5),
        "checkerboard": (y + x) % 2.0,
        "stripes": (x // 4) % 2.0,
    }[kind]
    return np.repeat(values[..., None], 3, axis=2)


@pytest.mark.parametrize("kind", ["black", "white", "grey", "checkerboard", "stripes"])
def test_ties_are_broken_alike(kind, backend, narrow_weights):
    # Exact weights, so that what is flat stays exactly flat whatever the order of summation.
    coarse = {name: np.round(array * 64) / 64 for name, array in narrow_weights.arrays.items()}
    weights = type(narrow_weights)("coarse", coarse, None, "")
    problem = make_problem("pytorch-blog", weights, smooth_image(32, 32, 1), smooth_image(32, 32, 2))
    image = awkward(kind)
    received, expected = backend().objective(problem).evaluate(image), reference.Objective(problem).evaluate(image)
    compare(received, expected, problem, FLOAT64, FLOAT64)
    assert relative(received.gradient, expected.gradient) <= FLOAT64


def narrow_run(backend_instance, problem, steps):
    descent = backend_instance.objective(problem).descent(problem.content)
    losses = []
    for _ in range(steps):
        losses.append(descent.evaluate().total)
        descent.update()
    return descent.image(), losses


OPTIMIZERS = {
    "adam": {"optimizer.kind": "adam", "optimizer.lr": 0.02},
    "adam-hat": {
        "optimizer.kind": "adam",
        "optimizer.lr": 0.02,
        "optimizer.convention": "hat",
        "optimizer.epsilon": 1e-4,
    },
    "lbfgs": {"optimizer.kind": "lbfgs"},
    "lbfgs-short": {"optimizer.kind": "lbfgs", "optimizer.history": 3},
    "sgd": {"optimizer.kind": "sgd", "optimizer.lr": 1e-3, "optimizer.decay_rate": 0.9, "optimizer.decay_steps": 7},
}


@pytest.mark.parametrize("clamp", ["none", "each-step"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_twenty_steps_in_float64(optimizer, clamp, backend, narrow_weights):
    content, style = smooth_image(32, 40, 1), smooth_image(36, 32, 2)
    settings = OPTIMIZERS[optimizer] | {"clamp": clamp, "tv.weight": 0.01}
    problem = make_problem("default", narrow_weights, content, style, **settings)
    image, losses = narrow_run(backend(), problem, 20)
    oracle_image, oracle_losses = narrow_run(backends.load("reference"), problem, 20)
    assert relative(image, oracle_image) <= 1e-8
    np.testing.assert_allclose(losses, oracle_losses, rtol=1e-8)
    assert losses[-1] < losses[0]


def test_restoring_goes_back_to_the_kept_image_with_a_fresh_optimiser(backend, narrow_weights):
    content, style = smooth_image(16, 16, 1), smooth_image(16, 16, 2)
    problem = make_problem("default", narrow_weights, content, style, **OPTIMIZERS["lbfgs"])
    descent = backend().objective(problem).descent(content)
    first = descent.evaluate().total
    descent.keep()
    descent.update()
    after_one = descent.image()
    for _ in range(4):
        descent.evaluate()
        descent.update()
    descent.restore()
    np.testing.assert_array_equal(descent.image(), descent.kept())
    assert relative(descent.image(), content) < 1e-15
    assert descent.evaluate().total == first
    descent.update()
    assert relative(descent.image(), after_one) < 1e-14


def test_arguments_are_left_alone(backend, narrow_weights):
    content, style = smooth_image(16, 16, 1), smooth_image(16, 16, 2)
    before = content.copy(), style.copy()
    problem = make_problem("default", narrow_weights, content, style)
    descent = backend().objective(problem).descent(content)
    descent.evaluate()
    descent.update()
    np.testing.assert_array_equal(content, before[0])
    np.testing.assert_array_equal(style, before[1])
