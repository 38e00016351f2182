"""Pictures out of random numbers: textures of many media and materials, and scenes that look like photographs.

A texture is one class: its family, palette and parameters follow from its seed alone, so any size and any crop of it
looks alike. Every draw comes from PCG64 streams spawned from the seed; nothing is kept between calls.
"""

from numpy.random import PCG64, Generator, SeedSequence

from training.textures.arrays import Array
from training.textures.families import FAMILIES
from training.textures.finish import finished
from training.textures.kit import Kit
from training.textures.palette import sample_palette
from training.textures.scenes import scene

__all__ = ["FAMILIES", "scene", "texture"]


def texture(seed: int, size: int = 256, family: str | None = None) -> Array:
    """Return the texture of a seed, (size, size, 3) sRGB in [0, 1]; `family` overrules the one the seed picks."""
    chosen, palette, taste, rng = (Generator(PCG64(stream)) for stream in SeedSequence(seed).spawn(4))
    name = str(chosen.choice(list(FAMILIES))) if family is None else family
    kit = Kit(size, sample_palette(palette), taste, rng)
    return finished(kit, FAMILIES[name](kit))
