"""One integer random generator, the same on every platform and NumPy version.

SplitMix64 (Steele, Lea & Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014), counter-based:
value i of a seed needs no value before it. Everything after the integers is exact or a single rounding.
"""

import numpy as np
from numpy.typing import NDArray

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_NORMAL_SUMMANDS = 12


def integers(seed: int, count: int, first: int = 0) -> NDArray[np.uint64]:
    """Return `count` integers, uniform on [0, 2^64), of the stream that `seed` names, from its number `first` on."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed % 2**64) + np.arange(first + 1, first + count + 1, dtype=np.uint64) * _GAMMA
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniform(seed: int, shape: tuple[int, ...], first: int = 0) -> NDArray[np.float64]:
    """Return numbers of `shape`, uniform on [0, 1), multiples of 2^-53, from the stream's number `first` on."""
    count = int(np.prod(shape))
    return ((integers(seed, count, first) >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(shape)


def normal(seed: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return numbers of `shape` with mean 0 and variance 1: twelve uniforms added up, less six (Irwin-Hall).

    Not exactly Gaussian (nothing lies beyond 6), but free of the logarithms and cosines whose last bit differs
    between platforms.
    """
    total = np.zeros(shape)
    for summand in range(_NORMAL_SUMMANDS):
        total += uniform(seed, shape, first=summand * total.size)
    return total - _NORMAL_SUMMANDS / 2
