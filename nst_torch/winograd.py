"""Convolutions by the spec's Winograd algorithm, a few rows of tiles at a time, which stay in the CPU's cache."""

import functools
import sys
import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from nst_spec import winograd
from nst_spec.winograd import SIDE, STEP

TILES = 256
"""Tiles that are computed together, or a row of them, if that is longer."""
TRIED = (256, 64, 64)
"""Channels, height and width of what is timed: a layer of an image of 256 x 256 px."""
TRIALS = 3


@functools.cache
def is_faster() -> bool:
    """Return whether this convolves faster here than a plain sum; both are timed, once a process, in 0.2 s.

    Who multiplies matrices, and how well, is another library's on every kind of CPU, and so is who convolves. What is
    compared is one thread's CPU time: beside another process's work, the time of several is mostly spent in waiting.
    Windows counts that in steps of 16 ms, too long for this.
    """
    clock = time.perf_counter if sys.platform == "win32" else time.thread_time
    x, kernel = (
        torch.ones(shape, device="cpu").contiguous(memory_format=torch.channels_last)
        for shape in ((1, *TRIED), (TRIED[0], TRIED[0], 3, 3))
    )
    ready = transformed(kernel)
    ways = (lambda: convolution(x, ready, None)), (lambda: functional.conv2d(x, kernel, padding=1))
    seconds: list[list[float]] = [[], []]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            for _ in range(TRIALS):  # in turn, since the CPU's rate may change meanwhile
                for way, taken in zip(ways, seconds, strict=True):
                    started = clock()
                    way()
                    taken.append(clock() - started)
    finally:
        torch.set_num_threads(threads)
    ours, theirs = map(min, seconds)
    return ours < theirs


def transformed(kernel: Tensor) -> Tensor:
    """Return G g G' (36, in, out) of a kernel g (out, in, 3, 3)."""
    rows = kernel.permute(2, 3, 1, 0).flatten(0, 1)
    return (_matrix(winograd.KERNEL, kernel) @ rows.flatten(1)).unflatten(1, rows.shape[1:])


def convolution(x: Tensor, kernel: Tensor, bias: Tensor | None, *, turned: bool = False) -> Tensor:
    """Return the convolution (1, out, H, W) of x (1, in, H, W), zero around its border, with a transformed kernel.

    With the kernel turned, its in and out change places, and x (1, out, H, W) gives (1, in, H, W).
    """
    from_input, to_output = winograd.matrices(turned)
    kernel = kernel.mT if turned else kernel
    x = x[0].permute(1, 2, 0)
    height, width, _ = x.shape
    down, across = winograd.tiles(height), winograd.tiles(width)
    rows = max(1, TILES // across)
    found = x.new_empty(STEP * down, STEP * across, kernel.shape[-1])
    for start in range(0, down, rows):
        stop = min(start + rows, down)
        products = torch.bmm(_tiles(x, start, stop, across, from_input), kernel)
        outputs = _outputs(products, stop - start, across, to_output)
        torch.add(outputs, 0 if bias is None else bias, out=found[STEP * start : STEP * stop].view(outputs.shape))
    return found[:height, :width].contiguous()[None].permute(0, 3, 1, 2)


def _tiles(x: Tensor, start: int, stop: int, across: int, matrix: NDArray[np.float64]) -> Tensor:
    """Return B' d B, by its matrix, of the tiles in some rows of x (H, W, in): (36, tiles, in)."""
    height, width, channels = x.shape
    first, last = STEP * start - 1, STEP * stop + 1
    border = (0, 0, 1, STEP * across + 1 - width, int(first < 0), max(0, last - height))
    needed = functional.pad(x[max(0, first) : last], border)
    d = needed.unfold(0, SIDE, STEP).unfold(1, SIDE, STEP).permute(3, 4, 0, 1, 2)
    return (_matrix(matrix, x) @ d.reshape(SIDE * SIDE, -1)).view(SIDE * SIDE, -1, channels)


def _outputs(products: Tensor, down: int, across: int, matrix: NDArray[np.float64]) -> Tensor:
    """Return A' m A, by its matrix, of the products m (36, tiles, out), in their places (down, 4, across, 4, out)."""
    found = (_matrix(matrix, products) @ products.flatten(1)).view(STEP, STEP, down, across, -1)
    return found.permute(2, 0, 3, 1, 4)


def _matrix(values: NDArray[np.float64], like: Tensor) -> Tensor:
    return torch.as_tensor(values, dtype=like.dtype)
