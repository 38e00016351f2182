"""Winograd's algorithm F(4 x 4, 3 x 3): a quarter of a convolution's multiplications, for a little more rounding.

The image is cut into tiles d of 6 x 6 positions that begin 4 apart, and with a kernel g each gives 4 x 4 outputs,

    A' [(G g G') * (B' d B)] A,

where * is, position by position, the product over the channels: 36 products of matrices for a whole layer. A matrix on
both sides of a small square is one on the left of its numbers in a row, line after line, and so one product does it for
all tiles and channels.

The gradient is a convolution with the kernel turned by half a turn. To turn the tile and its outputs instead comes to
the same, so that one transformed kernel serves both ways.

Source: A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nst_spec import vgg19

PIXELS = 128 * 128
"""Content images of fewer pixels gain less than the kernels' transform takes."""
CHANNELS = 128
"""With fewer channels, in or out, the transforms take more time than the products save."""
STEP, SIDE = 4, 6
"""How far apart tiles begin, and their side."""

_B = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_24_G = ((6, 0, 0), (-4, -4, -4), (-4, 4, -4), (1, 2, 4), (1, -2, 4), (0, 0, 24))
_A = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))

INPUT = np.kron(_B, _B).astype(np.float64)
"""B' d B of a tile's 36 numbers: (36, 36)."""
KERNEL = np.kron(_24_G, _24_G) / 24**2
"""G g G' of a kernel's 9: (36, 9)."""
OUTPUT = np.kron(_A, _A).astype(np.float64)
"""A' m A of a tile's 36 products m: (16, 36)."""


def matrices(turned: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return INPUT and OUTPUT, for the kernel as it is or turned by half a turn."""
    return (INPUT[:, ::-1].copy(), OUTPUT[::-1].copy()) if turned else (INPUT, OUTPUT)


def tiles(length: Any) -> Any:
    """Return how many tiles give so many outputs along an axis, or more: of a number, or of a framework's scalar."""
    return -(-length // STEP)


def gains(kernel: NDArray[np.float32]) -> bool:
    """Return whether the convolution with a kernel (out, in, 3, 3) has CHANNELS enough."""
    return bool(min(kernel.shape[:2]) >= CHANNELS)


def kernel_bytes(arrays: Mapping[str, NDArray[np.float32]], taps: Sequence[str]) -> int:
    """Return the bytes of all transformed kernels of a network to its deepest tap."""
    kernels = [arrays[f"{name}.weight"] for name in vgg19.layers_to(taps) if name in vgg19.CONVOLUTIONS]
    numbers, of_numbers = KERNEL.shape
    return int(sum(kernel.nbytes for kernel in kernels if gains(kernel)) * numbers // of_numbers)
