"""Textures made of two others."""

import numpy as np

from training.textures.arrays import Array
from training.textures.families.plain import PLAIN
from training.textures.fields import mix, smoothstep
from training.textures.kit import Kit
from training.textures.noise import fractal_noise


def two_families(kit: Kit) -> tuple[Array, Array]:
    """Return pictures of two plain families in one palette."""
    return kit.choose(PLAIN)(kit), kit.choose(PLAIN)(kit)


def blend(kit: Kit) -> Array:
    """Imitate a surface in two states: one texture here, another there, with a soft or hard border."""
    scale, border = kit.pixels(10, 28), kit.pixels(0.03, 0.6)
    first, second = two_families(kit)
    return mix(first, second, smoothstep(-border, border, fractal_noise(kit, scale, 2)))


def overprint(kit: Kit) -> Array:
    """Imitate a glaze or a print over a texture: one darkens or relights the other."""
    first, second = two_families(kit)
    strength = kit.between(0.4, 0.8)
    second = np.clip(second / (np.quantile(second, 0.9) + 1e-3), 0.02, 1.5)
    grey = second.mean(axis=-1, keepdims=True)
    if kit.sometimes(0.5):
        return np.asarray(first * (1 + strength * (grey / (grey.mean() + 1e-3) - 1)))
    return np.asarray(first * second**strength)
