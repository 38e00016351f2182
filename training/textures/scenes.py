"""Scenes: lit bodies in front of each other, near and far, as in a photograph."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import PCG64, Generator, SeedSequence
from scipy import ndimage

from training.textures.arrays import Array
from training.textures.backdrop import backdrop
from training.textures.bodies import body
from training.textures.fields import blur, mix
from training.textures.finish import finished
from training.textures.kit import TURN, Kit
from training.textures.palette import sample_palette

PLANES = 4
"""Depths at which the lens blurs alike."""


@dataclass(frozen=True)
class Setting:
    """What the bodies of a scene share; the horizon is a share of the height from the top."""

    light: Array
    standing: bool
    horizon: float
    haze: Array


def laid_over(picture: Array, layer: Array, top: int, left: int) -> Array:
    """Return the picture (colour and coverage) with a smaller one over it, cut off at the frame."""
    size = len(picture)
    lines, columns = (slice(max(start, 0), min(start + len(layer), size)) for start in (top, left))
    piece = layer[max(-top, 0) :, max(-left, 0) :][: lines.stop - lines.start, : columns.stop - columns.start]
    if piece.size == 0:
        return picture
    picture = picture.copy()
    weight = piece[..., 3:]
    picture[lines, columns] += (np.dstack([piece[..., :3], np.ones_like(weight)]) - picture[lines, columns]) * weight
    return picture


def placed(kit: Kit, setting: Setting, near: float) -> tuple[Array, int, int]:
    """Return a body that is so near (0 to 1), as colour and coverage, and its top and left."""
    if setting.standing:
        extent = (0.05 + 0.22 * near) * kit.size
    else:
        extent = min(0.035 / (1 - kit.between(0, 0.9)), 0.3) * kit.size
    height, width = extent * kit.pixels(0.6, 1.6), extent * kit.pixels(0.6, 1.4)
    if setting.standing:
        middle = (setting.horizon + (1 - setting.horizon) * (0.05 + 0.9 * near)) * kit.size - height
    else:
        middle = kit.between(0, 1) * kit.size
    thing = body(kit, setting.light, height, width)
    veil = 0.4 * (1 - near) * setting.standing
    thing[..., :3] = mix(thing[..., :3], setting.haze, np.full(thing.shape[:2], veil))
    return thing, int(middle - len(thing) / 2), int(kit.between(0, 1) * kit.size - len(thing) / 2)


def behind(picture: Array, layer: Array, light: Array, plane: int) -> Array:
    """Return the picture behind a plane of bodies (weighted colour and coverage), which cast their shadow on it."""
    size = len(picture)
    away = -light[:2] * 0.03 * (1 + plane) * size
    shadow = blur(ndimage.shift(layer[..., 3], away[::-1], order=1), (0.5 + 0.5 * plane) * size / 100)
    picture = picture * (1 - 0.4 * shadow[..., None])
    return np.asarray(layer[..., :3] + picture * (1 - layer[..., 3:]))


def scene(seed: int, size: int = 256) -> Array:
    """Return the scene of a seed, (size, size, 3) sRGB in [0, 1]: lit bodies in front of each other, near and far.

    Either they stand on a ground, smaller towards the horizon, or they fill the frame like fallen leaves.
    """
    palette, taste, rng = (Generator(PCG64(stream)) for stream in SeedSequence(seed).spawn(3))
    kit = Kit(size, sample_palette(palette), taste, rng)
    turn, standing = kit.between(math.pi, TURN), kit.sometimes(0.65)
    light = np.array([0.7 * math.cos(turn), 0.7 * math.sin(turn), 0.71])
    horizon = kit.between(0.25, 0.65) if standing else -0.5
    picture = backdrop(kit, horizon)
    setting = Setting(light, standing, horizon, picture[: size // 2].mean(axis=(0, 1)))
    focus, lens = kit.between(0.3, 1), kit.between(0, 2.5) * size / 256
    count = int(kit.pixels(5, 30) if standing else kit.pixels(25, 90))
    nearness = np.sort(kit.taste.random(count)) ** (1.5 if standing else 1)
    for plane in range(PLANES):
        layer = np.zeros((size, size, 4), picture.dtype)
        for near in nearness[(nearness * PLANES).astype(int) == plane]:
            layer = laid_over(layer, *placed(kit, setting, near))
        weighted = np.dstack([layer[..., :3] * layer[..., 3:], layer[..., 3]])
        layer = blur(weighted, lens * abs((plane + 0.5) / PLANES - focus) + 0.3)
        picture = behind(picture, layer, light, plane)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    return finished(kit, picture * (1 - kit.between(0, 0.25) * (y**2 + x**2))[..., None])
