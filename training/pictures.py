"""The pictures of a training or an evaluation, rendered once and kept in a file."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.random import PCG64, Generator, SeedSequence
from numpy.typing import NDArray

from training.textures import FAMILIES, scene, texture
from training.textures.arrays import Array

Pictures = NDArray[np.uint8]
"""(N, size, size, 3), sRGB."""

LUMA = (0.299, 0.587, 0.114)
"""What red, green and blue are worth in grey (ITU-R BT.601)."""

HELD_OUT = ("cubism", "engraving", "feathers", "knit", "lichen", "marbling", "scales", "water")
"""Families that no training sees, so that an evaluation can tell what was learnt from what was remembered."""
SEEN = tuple(name for name in FAMILIES if name not in HELD_OUT)

EVALUATION_SEED = 1_000_000
"""Seeds from here on are for evaluations; a training's begin at 0."""


def of_families(seed: int, size: int, families: Sequence[str]) -> Array:
    """Return the texture of a seed whose family is one of `families`."""
    return texture(seed, size, families[int(Generator(PCG64(SeedSequence([seed, 1]))).integers(len(families)))])


def rendered(make: Callable[[int], Array], seeds: Sequence[int], keep: Path | None = None) -> Pictures:
    """Return the picture of every seed, eight bits deep, made on all cores; read from the file `keep` if it is there.

    `make` gives (size, size, 3) in [0, 1]. A file of another number of pictures is an error.
    """
    if keep is not None and keep.exists():
        kept: Pictures = np.load(keep, mmap_mode="r")
        if len(kept) != len(seeds):
            raise ValueError(f"{keep}: expected {len(seeds)} pictures, received {len(kept)}; remove it to make it anew")
        return kept
    with ProcessPoolExecutor() as pool:
        pictures = np.stack(list(pool.map(partial(_in_bytes, make), seeds, chunksize=8)))
    if keep is not None:
        np.save(keep, pictures)
    return pictures


def _in_bytes(make: Callable[[int], Array], seed: int) -> Pictures:
    return np.rint(make(seed) * 255).astype(np.uint8)


def training_textures(count: int, size: int, folder: Path) -> Pictures:
    """Return the textures that a training tells apart."""
    make = partial(of_families, size=size, families=SEEN)
    return rendered(make, range(count), folder / f"textures-{count}-{size}.npy")


def training_scenes(count: int, size: int, folder: Path) -> Pictures:
    """Return the scenes that a training looks at for their shapes."""
    return rendered(partial(scene, size=size), range(count), folder / f"scenes-{count}-{size}.npy")
