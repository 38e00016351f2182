"""The kit that every family works with, and what a family is."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.random import Generator

from training.textures.arrays import Array
from training.textures.palette import Palette

T = TypeVar("T")

TURN = 2 * math.pi


@dataclass(frozen=True)
class Kit:
    """What a family works with: the size, the palette, `taste` for its parameters and `rng` for everything in detail.

    Parameters have a stream of their own so that they do not depend on the size.
    """

    size: int
    palette: Palette
    taste: Generator
    rng: Generator

    def between(self, low: float, high: float) -> float:
        """Draw a parameter."""
        return float(self.taste.uniform(low, high))

    def pixels(self, low: float, high: float) -> float:
        """Draw a length: every doubling equally likely."""
        return float(np.exp(self.taste.uniform(math.log(low), math.log(high))))

    def angle(self) -> float:
        """Draw a direction."""
        return self.between(0, TURN)

    def sometimes(self, probability: float) -> bool:
        """Draw a yes or no."""
        return bool(self.taste.random() < probability)

    def choose(self, options: Sequence[T]) -> T:
        """Draw one of several."""
        return options[int(self.taste.integers(len(options)))]


Family = Callable[[Kit], Array]
