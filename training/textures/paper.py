"""Paper and its inks."""

import numpy as np

from training.textures.arrays import Array
from training.textures.fields import mix
from training.textures.kit import Kit
from training.textures.noise import fractal_noise


def paper_and_ink(kit: Kit) -> tuple[Array, Array]:
    """Return a light ground and a dark colour, sometimes the other way round."""
    light = kit.palette.moved(kit.between(0.8, 0.98), -1, kit.choose([0.05, 0.1, 0.2, 0.3, 0.9]))
    dark = kit.palette.moved(kit.between(0.1, 0.45))
    return (dark, light) if kit.sometimes(0.2) else (light, dark)


def on_paper(kit: Kit, density: Array, tooth: float = 0) -> Array:
    """Return pigment of a density on paper; a rough `tooth` lets it catch on the heights only."""
    paper, ink = paper_and_ink(kit)
    grain = fractal_noise(kit, 3, 1)
    caught = 1 - np.exp(-density * np.clip(1 + tooth * grain, 0, None))
    return mix(paper * (1 + 0.02 * grain[..., None]), ink, caught)
