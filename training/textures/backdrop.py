"""What is behind the bodies of a scene."""

from dataclasses import replace

import numpy as np
from scipy import ndimage
from scipy.special import ndtr

from training.textures.arrays import Array
from training.textures.families import SURFACES
from training.textures.fields import coverage, mix
from training.textures.kit import Kit
from training.textures.noise import fractal_noise, smooth_noise


def in_perspective(kit: Kit, below: Array, pattern: Array) -> Array:
    """Return a pattern laid on the ground: coarse in front, fine towards the horizon; `below` it in shares of size."""
    depth = 0.25 / (below + 0.03)
    x = (np.arange(kit.size) / kit.size - kit.between(0.2, 0.8))[None] * depth * 1.6
    where = [np.broadcast_to(depth, x.shape) * len(pattern), x * len(pattern)]
    channels = [ndimage.map_coordinates(channel, where, order=1, mode="mirror") for channel in pattern.T]
    return np.stack(channels, axis=-1)


def backdrop(kit: Kit, horizon: float) -> Array:
    """Return sky or wall over ground or table, with hills between; a horizon above the frame leaves ground alone."""
    height = np.linspace(0, 1, kit.size, dtype=np.float32)[:, None]
    high, low = kit.palette.moved(kit.between(0.5, 0.8), -1), kit.palette.moved(kit.between(0.75, 0.97), -2, 0.6)
    cloud = fractal_noise(kit, kit.size / 4, kit.between(1.8, 2.6), 2.5)
    picture = mix(high, low, np.clip(height / max(horizon, 0.1) + kit.between(0, 0.3) * cloud, 0, 1))
    for nearness in np.linspace(0.2, 0.8, kit.choose([0, 1, 2, 3])):
        ridge = ndimage.gaussian_filter1d(kit.rng.standard_normal(2 * kit.size), kit.size * kit.between(0.02, 0.1))
        line = horizon - 0.1 * (1.3 - nearness) * (1 + ridge[: kit.size] / (ridge.std() + 1e-6))
        hill = kit.palette.near(kit.taste, np.array([0.4 * (1 - nearness)]))[0]
        slope = mix(hill, low, np.full((kit.size, kit.size), 0.75 * (1 - nearness)))
        slope = slope * (1 + 0.08 * fractal_noise(kit, kit.size / 10, 1.3)[..., None])
        picture = mix(picture, slope, coverage((line[None] - height) * kit.size))
    below = np.clip(height - horizon, 0, None)
    pattern = kit.choose(SURFACES)(replace(kit, size=128))
    ground = mix(in_perspective(kit, below, np.clip(pattern, 0, 1)), low, np.exp(-8 * below))
    shade = 1 - kit.between(0, 0.35) * ndtr(1.5 * smooth_noise(kit, kit.size / 5, 3))
    return mix(picture, ground * shade[..., None], coverage((horizon - height) * kit.size))
