"""Convolutions by Winograd's algorithm: a fifth of the multiplications, for a little more rounding.

F(6 x 6, 3 x 3) of A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, as NNPACK has it
for float32 on a CPU. PyTorch itself takes that for large batches alone.
"""

import functools
import time

import torch
from torch import Tensor
from torch.nn import functional

PIXELS = 256 * 256
"""Content images of fewer pixels gain nothing."""
POSITIONS = 40 * 40
"""For fewer positions the kernel's transform takes more time than the products save."""
TRIED = (256, 64, 64)
"""Channels, height and width of what is timed: a layer of an image of 256 x 256 px."""
TRIALS = 3


def is_available() -> bool:
    """Return whether NNPACK knows this CPU; this also prepares it."""
    return torch.backends.nnpack.is_available()


@functools.cache
def is_faster() -> bool:
    """Return whether NNPACK convolves faster here than a plain sum; both are timed, once a process, in 0.2 s.

    NNPACK has AVX2 alone, and plain sums are oneDNN's, in AVX-512 where there is that.
    """
    x, kernel = torch.ones(1, *TRIED), torch.ones(TRIED[0], TRIED[0], 3, 3)
    last = [tensor.contiguous(memory_format=torch.channels_last) for tensor in (x, kernel)]
    ways = (lambda: convolution(x, kernel, None)), (lambda: functional.conv2d(*last, padding=1))
    seconds: list[list[float]] = [[], []]
    with torch.no_grad():
        for _ in range(TRIALS):  # in turn, since another process may take the CPU meanwhile
            for way, taken in zip(ways, seconds, strict=True):
                started = time.perf_counter()
                way()
                taken.append(time.perf_counter() - started)
    ours, theirs = map(min, seconds)
    return ours < theirs


def convolution(x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """Return the convolution (1, out, H, W) of x (1, in, H, W), zero around it, with a kernel (out, in, 3, 3)."""
    return torch._nnpack_spatial_convolution(x.contiguous(), kernel, bias, (1, 1), (1, 1))
