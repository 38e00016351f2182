import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nst_spec import losses
from nst_spec.errors import NstError

# Two channels at three positions: small enough to work by hand.
FEATURES = np.array([[[1.0, 2.0], [3.0, -1.0], [0.0, 4.0]]])
RAW_GRAM = np.array([[10.0, -1.0], [-1.0, 21.0]])
SHAPE = losses.Shape(channels=2, positions=3, image_positions=12)


@pytest.mark.parametrize(("form", "divisor"), [("none", 1), ("positions", 3), ("channels", 2), ("elements", 6)])
def test_gram_by_hand(form, divisor):
    assert losses.gram_divisor(form, SHAPE) == divisor
    np.testing.assert_array_equal(losses.gram(FEATURES, divisor), RAW_GRAM / divisor)


def test_a_blend_by_hand():
    found = losses.blended([RAW_GRAM, np.eye(2), np.ones((2, 2))], (0.5, 0.25, 0.25))
    np.testing.assert_array_equal(found, [[5.5, -0.25], [-0.25, 11.0]])
    np.testing.assert_array_equal(losses.blended([RAW_GRAM], (1.0,)), RAW_GRAM)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("sum", 5.0),
        ("half-sum", 2.5),
        ("mean", 5 / 6),
        ("half-mean", 5 / 12),
        ("half-over-root", 5 / (2 * 2**0.5 * 3**0.5)),
        ("energy", 5 / 20),
    ],
)
def test_content_terms_by_hand(form, expected):
    # The differences are 1 and 2; the target's energy is 20.
    values, target = np.array([1.0, 2.0, 2.0, 4.0]), np.array([0.0, 0.0, 2.0, 4.0])
    factor = losses.content_factor(form, SHAPE, energy=20.0)
    assert losses.squared_error(values, target, factor)[0] == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("mean", 8 / 4),
        ("gatys", 8 / (4 * 4 * 9)),
        ("mean-per-element", 8 / 4 / 6),
        ("image-size", 8 / (4 * 9 * 144)),
        ("energy", 8 / 16),
    ],
)
def test_style_terms_by_hand(form, expected):
    gram, target = np.array([[3.0, 1.0], [1.0, 2.0]]), np.array([[1.0, 1.0], [1.0, 4.0]])
    factor = losses.style_factor(form, SHAPE, energy=16.0)
    assert losses.squared_error(gram, target, factor)[0] == pytest.approx(expected, rel=1e-14)


def test_a_silent_target_has_no_term():
    assert losses.style_factor("energy", SHAPE, 0.0) == 0.0
    assert losses.content_factor("energy", SHAPE, 0.0) == 0.0


@pytest.mark.parametrize(
    ("form", "expected"),
    # Rows (0, 1) and (3, 7): dy = 3, 6; dx = 1, 4.
    [
        ("l1", 14.0),
        ("half-squared", 0.5 * (9 + 1)),
        ("power-1.25", 10**1.25),
        ("mean-squared", (45 + 17) / 4),
        ("mean-squared-colour", 0.1 * (45 + 17) / 4),
    ],
)
def test_total_variation_by_hand(form, expected):
    x = np.array([[[0.0], [1.0]], [[3.0], [7.0]]])
    assert losses.total_variation(x, form)[0] == pytest.approx(expected, rel=1e-14)


def test_a_step_in_colour_counts_ten_times_one_in_grey():
    grey, colour = (np.array([[[0.0, 0.0, 0.0], step]]) for step in ([1.0, 1.0, 1.0], [1.0, -1.0, 0.0]))
    assert losses.total_variation(grey, "mean-squared-colour")[0] == pytest.approx(0.1 * 3 / 6, rel=1e-14)
    assert losses.total_variation(colour, "mean-squared-colour")[0] == pytest.approx(2 / 6, rel=1e-14)


def test_the_total_is_weighted():
    assert losses.total_loss(2.0, 3.0, 5.0, (10.0, 100.0, 1000.0)) == 5320.0


numbers = st.floats(-3, 3).map(lambda v: round(v, 3))


def slope_by_differences(value, x, step=1e-6):
    slope = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += step
        down[index] -= step
        slope[index] = (value(up) - value(down)) / (2 * step)
    return slope


@given(arrays(float, (2, 3, 2), elements=numbers), arrays(float, (2, 2), elements=numbers))
def test_the_style_gradient_is_the_slope(features, target):
    def value(f):
        return losses.squared_error(losses.gram(f, 6.0), target, 0.7)[0]

    slope = losses.squared_error(losses.gram(features, 6.0), target, 0.7)[1]
    received = losses.gram_pull_back(features, 6.0, slope)
    np.testing.assert_allclose(received, slope_by_differences(value, features), atol=1e-6)


@pytest.mark.parametrize("form", losses.TV_FORMS)
def test_the_total_variation_gradient_is_the_slope(form):
    x = np.random.default_rng(2).normal(size=(4, 5, 3))
    expected = slope_by_differences(lambda v: losses.total_variation(v, form)[0], x)
    np.testing.assert_allclose(losses.total_variation(x, form)[1], expected, atol=1e-6)


@given(arrays(float, (3, 3, 3), elements=numbers))
def test_a_gram_matrix_is_symmetric_and_positive(features):
    gram = losses.gram(features, 9.0)
    np.testing.assert_array_equal(gram, gram.T)
    assert np.linalg.eigvalsh(gram).min() >= -1e-9 * max(1.0, np.trace(gram))


@pytest.mark.parametrize("form", losses.TV_FORMS)
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 4, 3), (4, 1, 3)])
def test_total_variation_of_a_line_or_a_point(form, shape):
    value, gradient = losses.total_variation(np.ones(shape), form)
    assert value == 0.0
    assert gradient.shape == shape


@pytest.mark.parametrize(
    "call",
    [
        lambda: losses.gram_divisor("pixels", SHAPE),
        lambda: losses.content_factor("pixels", SHAPE, 1.0),
        lambda: losses.style_factor("pixels", SHAPE, 1.0),
        lambda: losses.total_variation(np.ones((2, 2, 3)), "pixels"),
    ],
)
def test_an_unknown_form_is_named_with_the_accepted_ones(call):
    with pytest.raises(NstError, match=r"'pixels'; accepted: \w+"):
        call()
