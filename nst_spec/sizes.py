"""Resize rules: from an image's own size and a recipe's size to the pixels it is resampled to. Pure arithmetic."""

import math
from collections.abc import Callable, Iterable

from nst_spec import vgg19
from nst_spec.errors import NstError, not_accepted

Size = tuple[int, int]
"""(width, height) in pixels."""

# What the rule makes equal to the size, in terms of the image's own (width, height).
_REFERENCE: dict[str, Callable[[int, int], int]] = {
    "long-edge": max,
    "short-edge": min,
    "height": lambda width, height: height,
}

RESIZE_RULES = ("square", *_REFERENCE)
"""`square`: both sides, whatever the aspect; the others keep the aspect and fit the long edge, short edge or height."""
STYLE_RULES = ("own", "warped")
"""`own`: the style image keeps its aspect, by the recipe's rule; `warped`: it takes the content image's shape."""


def round_half_up(x: float) -> int:
    """Return the integer nearest to x; a half goes up: 2.5 -> 3, -2.5 -> -2."""
    whole = math.floor(x)
    # not floor(x + 0.5): that sum rounds 0.49999999999999994 up to 1
    return whole + (x - whole >= 0.5)


def resized(width: int, height: int, rule: str, size: int) -> Size:
    """Return the (width, height) that a rule gives an image.

    Args:
        width: the image's own width, at least 1.
        height: the image's own height, at least 1.
        rule: one of RESIZE_RULES.
        size: the pixels that the rule is about.

    Returns:
        (width, height), rounded half up, each at least 1.

    Raises:
        NstError: no such rule.
    """
    if rule == "square":
        return max(1, size), max(1, size)
    if rule not in _REFERENCE:
        raise not_accepted("resize rule", rule, RESIZE_RULES)
    reference = _REFERENCE[rule](width, height)
    # multiplied first: the product is exact, so the quotient is rounded once
    return _at_least_1(width * size / reference), _at_least_1(height * size / reference)


def style_size(
    style_width: int,
    style_height: int,
    content_size: Size,
    rule: str,
    size: int,
    style_rule: str,
    style_scale: float,
) -> Size:
    """Return the (width, height) that the style image is resampled to.

    Args:
        style_width: the style image's own width.
        style_height: the style image's own height.
        content_size: (width, height) of the content image after its own resizing.
        rule: one of RESIZE_RULES; it is used by `own` alone.
        size: the pixels that the rule is about.
        style_rule: one of STYLE_RULES.
        style_scale: a factor on the size that the rule is about, or on the content image's; 1.0 changes nothing.

    Returns:
        (width, height), rounded half up, each at least 1.

    Raises:
        NstError: no such rule.
    """
    if style_rule == "own":
        return resized(style_width, style_height, rule, _at_least_1(size * style_scale))
    if style_rule == "warped":
        width, height = content_size
        return _at_least_1(width * style_scale), _at_least_1(height * style_scale)
    raise not_accepted("style rule", style_rule, STYLE_RULES)


def check_size(name: str, width: int, height: int, taps: Iterable[str]) -> None:
    """Check that an image is large enough for every tap to have a position, however its pooling rounds.

    Args:
        name: the image's name, for the message.
        width: its width at the run's scale.
        height: its height at the run's scale.
        taps: the taps of the run, at least one.

    Raises:
        NstError: a side is shorter than the deepest tap needs.
    """
    deepest = vgg19.check_taps(taps)[-1]
    smallest = vgg19.stride(deepest)
    if min(width, height) < smallest:
        raise NstError(
            f"{name}: {width} x {height} px is too small: it takes at least {smallest} px a side for {deepest}"
        )


def _at_least_1(pixels: float) -> int:
    return max(1, round_half_up(pixels))
