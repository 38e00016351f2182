"""Convolutions by Winograd's algorithm: a fifth of the multiplications, for a little more rounding.

F(6 x 6, 3 x 3) of A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, as NNPACK has it
for float32 on a CPU. PyTorch itself takes that for large batches alone.
"""

import torch
from torch import Tensor

PIXELS = 256 * 256
"""Content images of fewer pixels gain nothing."""
POSITIONS = 40 * 40
"""For fewer positions the kernel's transform takes more time than the products save."""


def is_available() -> bool:
    """Return whether NNPACK knows this CPU; this also prepares it."""
    return torch.backends.nnpack.is_available()


def convolution(x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """Return the convolution (1, out, H, W) of x (1, in, H, W), zero around it, with a kernel (out, in, 3, 3)."""
    return torch._nnpack_spatial_convolution(x.contiguous(), kernel, bias, (1, 1), (1, 1))
