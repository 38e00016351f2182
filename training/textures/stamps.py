"""The marks that a tool leaves, ready to be put down many times."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy import ndimage
from scipy.special import ndtr

from training.textures.arrays import Array, Indices
from training.textures.fields import coverage, smoothstep, turned
from training.textures.kit import TURN, Kit

Profile = Callable[[Array], Array]
"""Half a mark's width, as a share, from its start at -1 to its end at 1."""

DIRECTIONS = 24
"""Ways a stamp is turned, unless it is wanted one way only."""


def bar(t: Array) -> Array:
    """A flat brush: as wide everywhere, with rounded corners."""
    return np.asarray(np.clip(1 - np.abs(t) ** 6, 0, 1))


def slab(t: Array) -> Array:
    """A knife: as wide everywhere, with hard corners."""
    return (np.abs(t) <= 1).astype(float)


def leaf(t: Array) -> Array:
    """Widest in the middle, pointed at both ends."""
    return np.clip(1 - t**2, 0, 1)


def disc(t: Array) -> Array:
    """A round."""
    return np.sqrt(np.clip(1 - t**2, 0, 1))


def thorn(t: Array) -> Array:
    """Thick at the start, thin at the end."""
    return np.clip((1 - t) / 2, 0, 1) ** 0.7 * np.clip(8 * (1 + t), 0, 1)


@dataclass(frozen=True)
class Stamps:
    """One mark of a tool, in every direction and several variants: what it covers, its shade (thrice) and height."""

    alpha: Array
    paint: Array
    variants: int

    @property
    def side(self) -> int:
        """The pixels along a stamp's edge."""
        return int(self.alpha.shape[1])

    @property
    def margin(self) -> int:
        """How far outside the image a stamp's middle may lie."""
        return self.side // 2

    @property
    def marks(self) -> Array:
        """What each stamp covers, without the channel."""
        return self.alpha[..., 0]

    def at_random(self, rng: Generator, count: int) -> Indices:
        """Return that many stamps at random."""
        return rng.integers(len(self.alpha), size=count)

    def facing(self, rng: Generator, angles: Array) -> Indices:
        """Return for each angle a stamp that is turned that way."""
        directions = len(self.alpha) // self.variants
        ways = np.rint(angles / TURN * directions).astype(np.intp) % directions
        chosen: Indices = ways * self.variants + rng.integers(self.variants, size=len(ways))
        return chosen


def brush_hairs(rng: Generator, u: Array, v: Array, length: float, width: float) -> Array:
    """Return in [0, 1] how much paint the hairs of a brush hold, at u along and v across each of its strokes."""
    side, count = 128, len(u)
    hairs = ndimage.gaussian_filter(rng.standard_normal((side, side)), (0.6 + width / 80, length / 5), mode="wrap")
    where = np.stack([v + side * rng.random((count, 1, 1)), u + side * rng.random((count, 1, 1))])
    return np.asarray(ndimage.map_coordinates(ndtr(hairs / hairs.std()), where, order=1, mode="grid-wrap"))


def make_stamps(
    kit: Kit,
    length: float,
    width: float,
    profile: Profile = bar,
    *,
    bend: float = 0,
    ragged: float = 0,
    bristles: float = 0,
    gaps: float = 0,
    ridge: float = 0,
    heading: float | None = None,
    variants: int = 4,
) -> Stamps:
    """Make the marks of a tool.

    Lengths in pixels; the rest as shares: `bend` of the length sideways, `ragged` ends, visible `bristles`, `gaps`
    where the paint runs out, and a `ridge` of paint pushed to the edges. With a `heading` all marks go that way.
    """
    ways = np.arange(DIRECTIONS) * TURN / DIRECTIONS if heading is None else np.array([heading])
    tilt = TURN / DIRECTIONS / 2 if heading is None else 0.05
    rng, count = kit.rng, len(ways) * variants
    side = math.ceil(math.hypot(length, width * (1 + bend)) + 2)
    shift = rng.uniform(-0.5, 0.5, (2, count, 1, 1))
    axis = np.arange(side) - (side - 1) / 2
    angles = (np.repeat(ways, variants) + tilt * rng.uniform(-1, 1, count))[:, None, None]
    u, v = turned(axis[:, None] + shift[0], axis + shift[1], angles)
    bends = bend * rng.uniform(-1, 1, (count, 1, 1))
    v = v + bends * (4 * u * u / length - length / 3)
    hair = brush_hairs(rng, u, v, length, width)
    t = 2 * u / length
    half = width / 2 * profile(t)
    ends = coverage(np.abs(u) - length / 2 * (1 - ragged * hair))
    alpha = coverage(np.abs(v) - half) * ends * np.minimum(1, 2 * half)
    alpha = alpha * (1 - gaps * smoothstep(0.35, 0.65, hair + 0.25 * t))
    height = 0.5 + bristles * (hair - 0.5) + ridge * np.exp(-(((half - np.abs(v)) / 1.2) ** 2))
    shade = 1 + 0.7 * bristles * (hair - 0.5)
    paint = np.stack([shade, shade, shade, height], axis=-1)
    return Stamps(alpha[..., None].astype(np.float32), paint.astype(np.float32), variants)
