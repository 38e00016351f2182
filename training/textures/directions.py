"""Fields of directions for strokes to follow."""

import numpy as np

from training.textures.arrays import Array
from training.textures.kit import Kit
from training.textures.noise import smooth_noise


def flow(kit: Kit, scale: float, unrest: float) -> Array:
    """Return a field of directions that turn by `unrest` radians over about `scale` pixels."""
    return kit.angle() + unrest * smooth_noise(kit, scale)


def eddies(kit: Kit, scale: float) -> Array:
    """Return a field of directions that run around hills and hollows of about `scale` pixels."""
    down, right = np.gradient(smooth_noise(kit, scale))
    return np.asarray(np.arctan2(right, -down))
