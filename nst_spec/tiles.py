"""Exact tiles: which part of an image is computed at a time, and which features it answers for.

Gram matrices and content terms are sums over positions, so they may be added up tile by tile. A tile owns the pixels
[start, stop) of each axis, and at every tap the positions whose windows begin there; it is computed from a crop that is
wider by a margin, as far as the deepest tap sees. Tiles and crops begin and end on a grid on which all poolings begin
anew, or at the image's own border, where alone a convolution meets its zero padding. So the owned features, and what
they give back to the image, are those of the whole image.
"""

import itertools
import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast

from nst_spec import vgg19
from nst_spec.errors import NstError

GRID = vgg19.stride(vgg19.TAPS[-1])
"""Pixels from one position of the deepest taps to the next (16); at its multiples a window of every pooling begins."""
CHOICES = (1024, 896, 768, 640, 512, 384, 256, 128, 64)
"""The sides in pixels that are chosen among where none is asked for. Smaller tiles would be nearly all margin."""

Tile = int | Literal["auto", "off"]
"""How a run may be asked to tile: where memory is short, never, or in tiles of so many pixels a side."""


def checked(tile: object) -> Tile:
    """Return the tile as asked for, a number also as text; raises NstError saying what is accepted."""
    if tile == "auto" or tile == "off":
        return "auto" if tile == "auto" else "off"
    try:
        side = int(tile) if isinstance(tile, str) and tile.isdecimal() else operator.index(cast(int, tile))
    except TypeError:
        side = 0
    if isinstance(tile, bool) or side < GRID or side % GRID:
        raise NstError(f"tile: received {tile!r}; accepted: auto, off, or a multiple of {GRID} px, {GRID} or more")
    return side


def smaller(side: int) -> int | None:
    """Return the largest of CHOICES that is at most half of a side in pixels, or None."""
    return next((choice for choice in CHOICES if choice <= side / 2), None)


def margin(taps: Iterable[str]) -> int:
    """Return the pixels around a tile that its features depend on, on the grid: 80 for relu5_1.

    Every convolution sees one position further on each side, so the half-width of a tap's receptive field is the sum
    of the strides of the convolutions before it: 2*1 + 2*2 + 4*4 + 4*8 + 1*16 = 70 for relu5_1.
    """
    seen = sum(vgg19.stride(layer) for layer in vgg19.layers_to(taps) if layer in vgg19.CONVOLUTIONS)
    return -(-seen // GRID) * GRID


@dataclass(frozen=True)
class Span:
    """A tile along one axis, in pixels: it owns [start, stop) and is computed from [first, last)."""

    start: int
    stop: int
    first: int
    last: int

    @property
    def crop(self) -> slice:
        """Where the tile's pixels lie in the image."""
        return slice(self.first, self.last)

    def owned(self, tap: str, rounding: str) -> slice:
        """Where the features that the tile owns lie in those of its crop.

        `rounding` says, as in a recipe, what pooling does with an odd last position; only the image's end has one.
        """
        stride = vgg19.stride(tap)
        return slice((self.start - self.first) // stride, vgg19.map_side(tap, self.stop - self.first, rounding))


@dataclass(frozen=True)
class Piece:
    """A tile of an image, by rows and columns."""

    rows: Span
    columns: Span

    @property
    def crop(self) -> tuple[slice, slice]:
        """Where the tile's pixels lie in the image."""
        return self.rows.crop, self.columns.crop

    def owned(self, tap: str, rounding: str) -> tuple[slice, slice]:
        """Where the features that the tile owns lie in those of its crop."""
        return self.rows.owned(tap, rounding), self.columns.owned(tap, rounding)


def spans(length: int, side: int, margin: int) -> tuple[Span, ...]:
    """Return the fewest tiles of at most `side` pixels that cover an axis of an image, as even as the grid allows."""
    cells, count = -(-length // GRID), -(-length // side)
    edges = [cells * number // count * GRID for number in range(count)] + [length]
    return tuple(
        Span(start, stop, max(0, start - margin), min(length, stop + margin))
        for start, stop in itertools.pairwise(edges)
    )


def split(height: int, width: int, side: int, taps: Iterable[str]) -> tuple[Piece, ...]:
    """Return the tiles of an image of height x width pixels, row by row, for features at the taps.

    `side` is the longest side of what a tile owns, in pixels, a multiple of GRID. Every position of every tap has one
    owner.
    """
    wide = margin(taps)
    return tuple(Piece(rows, columns) for rows in spans(height, side, wide) for columns in spans(width, side, wide))
