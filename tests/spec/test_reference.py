"""The oracle against hand-worked numbers, plain loops and finite differences."""

import numpy as np
import pytest

from nst_spec import recipe, reference
from nst_spec.recipe import Pooling
from tests.conftest import make_problem, smooth_image

RNG = np.random.default_rng(7)


def test_a_convolution_is_the_nine_products_around_a_pixel():
    x, weight, bias = RNG.normal(size=(4, 5, 2)), RNG.normal(size=(3, 2, 3, 3)), RNG.normal(size=3)
    expected = np.zeros((4, 5, 3))
    for i, j, o in np.ndindex(expected.shape):
        expected[i, j, o] = bias[o] + sum(
            weight[o, c, dy, dx] * x[i + dy - 1, j + dx - 1, c]
            for c, dy, dx in np.ndindex(2, 3, 3)
            if 0 <= i + dy - 1 < 4 and 0 <= j + dx - 1 < 5
        )
    np.testing.assert_allclose(reference.convolve(x, weight, bias), expected, rtol=1e-12, atol=1e-12)


def test_the_convolutions_pull_back_is_its_adjoint():
    x, weight, gradient = RNG.normal(size=(4, 5, 2)), RNG.normal(size=(3, 2, 3, 3)), RNG.normal(size=(4, 5, 3))
    forward = np.vdot(gradient, reference.convolve(x, weight, np.zeros(3)))
    assert np.vdot(reference.convolve_pull_back(gradient, weight), x) == pytest.approx(forward, rel=1e-12)


X = np.arange(9.0).reshape(3, 3, 1)


@pytest.mark.parametrize(
    ("kind", "rounding", "expected"),
    [
        ("max", "floor", [[4]]),
        ("max", "ceil", [[4, 5], [7, 8]]),
        ("average", "floor", [[2]]),
        ("average", "ceil", [[2, 3.5], [6.5, 8]]),
    ],
)
def test_pooling_by_hand(kind, rounding, expected):
    pooling = Pooling(kind=kind, rounding=rounding)
    np.testing.assert_array_equal(reference.pool(X, pooling)[..., 0], expected)


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize("rounding", ["floor", "ceil"])
def test_poolings_pull_back_is_its_slope(kind, rounding):
    pooling = Pooling(kind=kind, rounding=rounding)
    x, change = RNG.normal(size=(5, 7, 2)), RNG.normal(size=(5, 7, 2))
    gradient = RNG.normal(size=reference.pool(x, pooling).shape)
    step = 1e-7
    slope = np.vdot(gradient, reference.pool(x + step * change, pooling) - reference.pool(x, pooling)) / step
    assert np.vdot(reference.pool_pull_back(gradient, x, pooling), change) == pytest.approx(slope, rel=1e-5)


def test_of_equal_maxima_the_first_receives_the_gradient():
    back = reference.pool_pull_back(np.ones((1, 1, 1)), np.full((2, 2, 1), 3.0), Pooling())
    np.testing.assert_array_equal(back[..., 0], [[1, 0], [0, 0]])


def test_a_network_worked_by_hand():
    weights = {
        "conv1_1.weight": np.zeros((1, 3, 3, 3)),
        "conv1_1.bias": np.array([-1.0]),
        "conv1_2.weight": np.ones((1, 1, 3, 3)),
        "conv1_2.bias": np.array([0.5]),
    }
    weights["conv1_1.weight"][0, :, 1, 1] = [1.0, 2.0, 3.0]
    network = reference.Network(weights, ("conv1_2",), Pooling())
    outputs = network.forward(np.array([[[1.0, 1.0, 1.0], [0.1, 0.1, 0.1]]]))
    np.testing.assert_allclose(outputs["conv1_1"][0, :, 0], [5.0, -0.4])
    np.testing.assert_allclose(outputs["relu1_1"][0, :, 0], [5.0, 0.0])
    np.testing.assert_allclose(outputs["conv1_2"][0, :, 0], [5.5, 5.5])


# Recipes that together use every term, divisor, tv form, space and pooling.
COVERING = ("sonare2024", "udacity2018", "keras-io", "neural-style", "neural-style-tf", "gatys2016", "default")


@pytest.mark.parametrize("name", COVERING)
def test_the_gradient_is_the_slope_of_the_total_loss(name, narrow_weights):
    content, style, image = (smooth_image(19, 22, seed) for seed in (1, 2, 5))
    problem = make_problem(name, narrow_weights, content, style, **{"tv.weight": 0.3})
    objective = reference.Objective(problem)
    received = objective.evaluate(image).gradient
    rng = np.random.default_rng(4)
    for _ in range(3):
        # Along a random direction, small enough to cross hardly any ReLU or pooling choice.
        direction = rng.normal(size=image.shape)
        step = 1e-7
        up, down = (objective.evaluate(image + sign * step * direction).losses.total for sign in (1, -1))
        assert np.vdot(received, direction) == pytest.approx((up - down) / (2 * step), rel=1e-6)


def test_a_content_image_matches_itself(narrow_weights):
    content, style = smooth_image(16, 16, 1), smooth_image(20, 18, 2)
    losses = reference.Objective(make_problem("default", narrow_weights, content, style)).evaluate(content).losses
    assert losses.content == 0.0
    assert losses.style > 0.0


def test_a_style_image_matches_itself(narrow_weights):
    style = smooth_image(16, 16, 2)
    losses = reference.Objective(make_problem("default", narrow_weights, smooth_image(16, 16, 1), style)).evaluate(
        style
    )
    assert losses.losses.style == 0.0
    assert losses.losses.content > 0.0


def test_a_descent_lowers_the_loss(narrow_weights):
    content, style = smooth_image(16, 16, 1), smooth_image(16, 16, 2)
    descent = reference.Objective(make_problem(recipe.load("default"), narrow_weights, content, style)).descent(content)
    first = descent.evaluate().total
    for _ in range(10):
        descent.update()
        last = descent.evaluate().total
    assert last < 0.7 * first
