"""Resize rules: hand-worked sizes, and what must hold for every size."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nst_spec.errors import NstError
from nst_spec.sizes import RESIZE_RULES, STYLE_RULES, check_size, resized, round_half_up, style_size

sides = st.integers(1, 30_000)
sizes = st.integers(1, 8192)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (0.0, 0), (0.49999999999999994, 0), (0.5, 1), (1.4, 1), (2.5, 3), (3.5, 4), (-0.5, 0), (-1.5, -1), (-2.6, -3),
        (4503599627370497.0, 4503599627370497),
    ],
)  # fmt: skip
def test_a_half_goes_up(x, expected):
    assert round_half_up(x) == expected
    assert type(round_half_up(x)) is int


@given(st.floats(-1e9, 1e9))
def test_round_half_up_is_the_floor_of_x_and_a_half(x):
    assert round_half_up(x) == math.floor(Fraction(x) + Fraction(1, 2))


@pytest.mark.parametrize(
    ("rule", "own", "size", "expected"),
    [
        ("square", (640, 480), 256, (256, 256)),
        ("long-edge", (640, 480), 512, (512, 384)),
        ("long-edge", (480, 640), 512, (384, 512)),
        ("short-edge", (640, 480), 240, (320, 240)),
        ("short-edge", (480, 640), 240, (240, 320)),
        ("height", (640, 480), 400, (533, 400)),  # 533.33
        ("height", (480, 640), 400, (300, 400)),
        ("long-edge", (8, 5), 4, (4, 3)),  # 2.5 rounds up
        ("long-edge", (8, 7), 4, (4, 4)),  # 3.5 too
        ("long-edge", (10_000, 1), 512, (512, 1)),  # 0.05 of a pixel is still one
        ("short-edge", (3, 1), 100, (300, 100)),
    ],
)
def test_resized(rule, own, size, expected):
    assert resized(*own, rule, size) == expected


@pytest.mark.parametrize("rule", RESIZE_RULES)
@given(width=sides, height=sides, size=sizes)
def test_resized_is_the_exact_quotient_rounded(rule, width, height, size):
    got = resized(width, height, rule, size)
    if rule == "square":
        assert got == (size, size)
        return
    reference = {"long-edge": max(width, height), "short-edge": min(width, height), "height": height}[rule]
    exact = [Fraction(side * size, reference) for side in (width, height)]
    assert got == tuple(max(1, math.floor(side + Fraction(1, 2))) for side in exact)
    assert size in got


@pytest.mark.parametrize("rule", ["long-edge", "short-edge", "height"])
@given(width=sides, height=sides)
def test_a_size_that_is_right_stays(rule, width, height):
    size = {"long-edge": max(width, height), "short-edge": min(width, height), "height": height}[rule]
    assert resized(width, height, rule, size) == (width, height)


def test_an_unknown_rule_names_the_accepted_ones():
    with pytest.raises(NstError, match=r"'width'.*square, long-edge, short-edge, height"):
        resized(10, 10, "width", 5)


@pytest.mark.parametrize(
    ("style_rule", "scale", "expected"),
    [
        ("own", 1.0, (512, 256)),  # the recipe's rule on 1000 x 500
        ("own", 0.5, (256, 128)),
        ("own", 1.5, (768, 384)),
        ("own", 0.0001, (1, 1)),
        ("warped", 1.0, (512, 384)),  # the content's own size
        ("warped", 0.5, (256, 192)),
        ("warped", 0.001, (1, 1)),
    ],
)
def test_style_size(style_rule, scale, expected):
    assert style_size(1000, 500, (512, 384), "long-edge", 512, style_rule, scale) == expected


def test_the_style_scale_rounds_half_up():
    assert style_size(10, 10, (5, 7), "square", 5, "own", 0.5) == (3, 3)  # 2.5
    assert style_size(10, 10, (5, 7), "square", 5, "warped", 0.5) == (3, 4)  # 2.5 and 3.5


@given(width=sides, height=sides, size=sizes, rule=st.sampled_from(RESIZE_RULES), content=st.tuples(sides, sides))
def test_a_style_scale_of_one_is_neutral(width, height, size, rule, content):
    assert style_size(width, height, content, rule, size, "own", 1.0) == resized(width, height, rule, size)
    assert style_size(width, height, content, rule, size, "warped", 1.0) == content


def test_an_unknown_style_rule_names_the_accepted_ones():
    assert STYLE_RULES == ("own", "warped")
    with pytest.raises(NstError, match=r"'stretched'.*own, warped"):
        style_size(10, 10, (5, 5), "square", 5, "stretched", 1.0)


def test_too_small_names_the_file_the_size_and_the_tap():
    with pytest.raises(NstError) as caught:
        check_size("tiny.png", 12, 9, ["relu5_1", "relu1_1"])
    assert str(caught.value) == "tiny.png: 12 x 9 px is too small: it takes at least 16 px a side for relu5_1"


@pytest.mark.parametrize(("taps", "smallest"), [(["relu1_2"], 1), (["relu4_2", "conv2_1"], 8), (["relu5_4"], 16)])
def test_the_deepest_tap_decides(taps, smallest):
    check_size("x", smallest, smallest, taps)
    for size in ((smallest - 1, 99), (99, smallest - 1)):
        with pytest.raises(NstError, match=f"at least {smallest} px a side for {taps[0]}"):
            check_size("x", *size, taps)
