"""Whose colours a picture has."""

import numpy as np
from numpy.typing import NDArray

BRIGHTNESS = (0.299, 0.587, 0.114)
"""How much red, green and blue count in brightness: ITU-R BT.601, the Y of YUV and of YIQ."""


def brightness(image: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return `Y = 0.299 R + 0.587 G + 0.114 B` (H, W, 1) of an image (H, W, 3)."""
    return np.asarray(image @ np.array(BRIGHTNESS, image.dtype)[:, None])


def in_colours_of(content: NDArray[np.floating], image: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return an image's brightness in the content image's colours, both (H, W, 3): `content + Y(image) - Y(content)`.

    That is the image's Y with the content image's U and V, or I and Q; what it gives may be outside of [0, 1].

    Source: L. A. Gatys, M. Bethge, A. Hertzmann, E. Shechtman, "Preserving Color in Neural Artistic Style Transfer"
    (2016), section 4.2, done to the finished picture as neural-style's `-original_colors` does it.
    """
    return np.asarray(content + (brightness(image) - brightness(content)))
