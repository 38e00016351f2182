"""Where things are: the pixels' coordinates and points scattered over the image."""

import math

import numpy as np

from training.textures.arrays import Array
from training.textures.kit import Kit
from training.textures.noise import smooth_noise


def grid(kit: Kit, wobble: float = 0, scale: float = 20) -> tuple[Array, Array]:
    """Return every pixel's y and x, displaced by noise of deviation `wobble` pixels."""
    y, x = np.mgrid[: kit.size, : kit.size].astype(np.float32)
    if wobble:
        y, x = y + wobble * smooth_noise(kit, scale), x + wobble * smooth_noise(kit, scale)
    return y, x


def scatter(
    kit: Kit,
    spacing: float,
    margin: float,
    aspect: float = 1,
    angle: float = 0,
    jitter: float = 1,
    stagger: float = 1,
) -> Array:
    """Return points (y, x) in random order, one to a cell of a turned lattice that covers the image and a margin.

    A cell is `spacing` wide and `aspect` times as long along `angle`; with `stagger` every row starts somewhere else.
    """
    reach = kit.size / 2 + margin
    rows = np.arange(-1.5 * reach, 1.5 * reach, spacing)
    columns = np.arange(-1.5 * reach, 1.5 * reach + spacing * aspect, spacing * aspect)
    shape = (len(rows), len(columns))
    along = columns + spacing * aspect * (
        stagger * kit.rng.random((shape[0], 1)) + jitter * (kit.rng.random(shape) - 0.5) - 1
    )
    across = rows[:, None] + spacing * jitter * (kit.rng.random(shape) - 0.5)
    y, x = along * math.sin(angle) + across * math.cos(angle), along * math.cos(angle) - across * math.sin(angle)
    points = np.stack([y.ravel(), x.ravel()], axis=1)
    points = points[np.abs(points).max(axis=1) < reach] + kit.size / 2
    return kit.rng.permutation(points)
