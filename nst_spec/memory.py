"""How much memory a problem needs, how much there is, and what is done about it: tiles, and fewer pairs of L-BFGS."""

import dataclasses
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from nst_spec import control_groups, tiles, vgg19
from nst_spec.losses import Shape
from nst_spec.recipe import LBFGS, Adam, Recipe

SHARE = 0.8
"""How much of the free memory a problem may take: what it needs is estimated, and others take some as well."""
KEPT = 2**30
"""Bytes of content features that a tiled problem keeps. It computes more than that anew at every evaluation, so that
what it needs is bounded; a tile then takes another forward pass to the deepest content tap."""
TILE = 1500 * 2**20
"""Bytes for both passes over a tile that is not asked for: larger ones save a CPU little time, and a step at 4096 px
then takes more than 4 GiB."""
TILE_SHARE = 1 / 8
"""How much of the memory a tile may take on a GPU, if that is more than TILE: many small ones leave it waiting."""
INDEXABLE = 2**31
"""A GPU's fast kernels count in 32 bits; a layer of so many numbers gets slow ones, and a step takes twenty times as
long."""
IMAGES = 12
"""Arrays as large as the image beside the optimiser's: the image, the best one, the gradient, both inputs, what the
total variation and an update need on the way."""
GAPS = 0.25
"""How much more of a network's memory a process may take that keeps what it frees, since blocks are of many sizes."""
LEAST_HISTORY = 2
"""The fewest pairs that L-BFGS is cut down to."""
GIBIBYTE = 2**30


@dataclass(frozen=True)
class Needs:
    """What decides how much memory a problem takes.

    `steps` are those to be taken; `image` is (height, width) in pixels, and so is each of `styles`; `content` the
    content features' shapes; `itemsize` is the bytes of a number, `workspace` how many arrays as large as the network's
    largest layer the framework takes on the way, `on_gpu` whether a GPU computes it.
    """

    recipe: Recipe
    steps: int
    widths: Sequence[int]
    image: tuple[int, int]
    styles: Sequence[tuple[int, int]]
    itemsize: int
    content: Sequence[Shape]
    workspace: int
    on_gpu: bool = False

    @property
    def images(self) -> tuple[tuple[int, int], ...]:
        """The (height, width) of every image that the network is to see."""
        return self.image, *self.styles

    def network(self, height: int, width: int) -> int:
        """Return the bytes for both passes of the network over an image of height x width pixels.

        A layer's rectified output is kept for the way back, and so is every pooling's; a pooling with maxima keeps
        which they are as well.
        """
        layers = [
            vgg19.channels_of(self.widths, layer)
            * math.prod(vgg19.map_side(layer, side, "ceil") for side in (height, width))
            for layer in vgg19.layers_to(self.recipe.taps)
            if not layer.startswith("conv") or layer in self.recipe.taps
        ]
        return self.itemsize * (sum(layers) + self.workspace * self.largest(height, width))

    def largest(self, height: int, width: int) -> int:
        """Return the numbers in the network's largest layer."""
        return self.widths[0] * height * width

    def tile(self, side: int) -> int:
        """Return the bytes for both passes over the largest tile of any image."""
        wide = side + 2 * tiles.margin(self.recipe.taps)
        return max(self.network(min(height, wide), min(width, wide)) for height, width in self.images)

    def tiled(self, side: int) -> int:
        """Return the bytes for both passes over the largest tile, and for the content features that are kept."""
        return self.tile(side) + (self.kept if self.keeps_content else 0)

    @property
    def whole(self) -> int:
        """The bytes for both passes over a whole image, and for the content features."""
        return max(self.network(*size) for size in self.images) + self.kept

    @property
    def is_indexable(self) -> bool:
        """Whether no layer of a whole image has more numbers than fast kernels count."""
        return not self.on_gpu or max(self.largest(*size) for size in self.images) < INDEXABLE

    @property
    def kept(self) -> int:
        """The bytes of the content features."""
        return self.itemsize * sum(shape.channels * shape.positions for shape in self.content)

    @property
    def keeps_content(self) -> bool:
        """Whether a tiled problem keeps its content features."""
        return self.kept <= KEPT

    @property
    def pixels(self) -> int:
        """The bytes of one array as large as the image."""
        return self.itemsize * math.prod(self.image) * vgg19.IMAGE_CHANNELS

    @property
    def history(self) -> int:
        """The pairs that L-BFGS comes to remember, one fewer than its steps; 0 for another optimiser."""
        optimizer = self.recipe.optimizer
        return min(optimizer.history, max(0, self.steps - 1)) if isinstance(optimizer, LBFGS) else 0

    def state(self, history: int) -> int:
        """Return the bytes of what is as large as the image, Adam's moments or so many pairs of L-BFGS included."""
        moments = 2 if isinstance(self.recipe.optimizer, Adam) else 0
        return self.pixels * (IMAGES + moments + 2 * history)


@dataclass(frozen=True)
class Plan:
    """How a problem is computed, and why.

    `tile` is the tiles' side in pixels, or None; `keeps_content` whether they keep the content features; `short`
    whether what is freed had better go back to the system, since there is no room for GAPS; `history` the pairs that
    L-BFGS is cut down to, or None; `reasons` and `warnings` are for a person to read.
    """

    tile: int | None = None
    keeps_content: bool = True
    short: bool = False
    history: int | None = None
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def adapted(self, recipe: Recipe) -> Recipe:
        """Return the recipe with the history cut down."""
        if self.history is None or not isinstance(recipe.optimizer, LBFGS):
            return recipe
        return recipe.model_copy(update={"optimizer": recipe.optimizer.model_copy(update={"history": self.history})})


def plan(needs: Needs, tile: tiles.Tile, free: int) -> Plan:
    """Return how to compute a problem when `free` bytes are free.

    `auto` does without tiles where the whole image fits, and on a GPU is INDEXABLE; else it takes the largest that fit,
    up to TILE, or on a GPU to TILE_SHARE. Tiles change no number and the history does, so it is cut down only where it
    does not fit beside the smallest tiles, and then tiles are no smaller for its sake.
    """
    ours = int(free * SHARE)
    side = _fitting(needs, ours) if tile == "auto" else None if isinstance(tile, str) else tile
    reasons = []
    if tile == "auto" and side:
        height, width = max(needs.images, key=math.prod)
        total = needs.whole + needs.state(needs.history)
        too_much = f"needs about {_gibibytes(total)}, and {_gibibytes(free)} are free"
        why = "would have layers too long for fast kernels" if total <= ours else too_much
        reasons.append(f"{width} x {height} px {why}; computed in tiles of {side} px (--tile off never tiles)")
    network = needs.whole if side is None else needs.tiled(side)
    room = ours - needs.state(needs.history) - network
    chosen = Plan(side, needs.keeps_content, room < GAPS * network, reasons=tuple(reasons))
    pairs = needs.history + min(0, room // (2 * needs.pixels))
    if pairs >= needs.history or needs.history <= LEAST_HISTORY:
        return chosen
    pairs = max(LEAST_HISTORY, pairs)
    warning = (
        f"{needs.history} pairs of L-BFGS would take {_gibibytes(2 * needs.history * needs.pixels)}; "
        f"it keeps {pairs}, which changes the result; --optimizer adam needs less"
    )
    return dataclasses.replace(chosen, history=pairs, warnings=(warning,))


def _fitting(needs: Needs, room: int) -> int | None:
    """Return the side of the largest tiles that fit into so many bytes, None where the whole image does.

    It is also None where these tiles take no less than the whole image.
    """
    if needs.is_indexable and needs.whole + needs.state(needs.history) <= room:
        return None
    most = max(TILE, room * TILE_SHARE) if needs.on_gpu else TILE
    # A history that does not fit beside the smallest tile is cut down anyway, and then not for the sake of small tiles.
    fitting = (
        side
        for pairs in (needs.history, min(needs.history, LEAST_HISTORY))
        for side in tiles.CHOICES
        if needs.tile(side) <= most and needs.tiled(side) + needs.state(pairs) <= room
    )
    side = next(fitting, tiles.CHOICES[-1])
    return None if needs.tiled(side) >= needs.whole else side


def _gibibytes(count: int) -> str:
    return f"{count / GIBIBYTE:.1f} GiB"


def free_on_host() -> int:
    """Return the bytes of main memory that this process may still take.

    That is what is there, or the least that its control groups leave.
    """
    return min([int(psutil.virtual_memory().available), *map(_free_in, control_groups.folders())])


def _free_in(group: Path) -> int:
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        files = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())["inactive_file"]
    except (OSError, KeyError, ValueError):  # ValueError: "max", no limit
        return sys.maxsize
    # Inactive pages of files count as used, and are given up when memory is wanted.
    return max(0, limit - used + int(files))
