"""The last step of every picture."""

import numpy as np

from training.textures.arrays import Array
from training.textures.fields import blur
from training.textures.kit import Kit


def finished(kit: Kit, picture: Array) -> Array:
    """Return the picture as some light and some lens would show it, in [0, 1]."""
    gamma, gain = kit.between(0.8, 1.25), 1 + 0.08 * kit.taste.uniform(-1, 1, 3)
    picture = np.clip(picture, 0, 1) ** gamma * gain
    if kit.sometimes(0.15):
        picture = blur(picture, kit.between(0.4, 0.7))
    if kit.sometimes(0.3):
        picture = picture + kit.between(0.005, 0.02) * kit.rng.standard_normal(picture.shape)
    return np.clip(picture, 0, 1).astype(np.float32)
