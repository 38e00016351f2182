"""Textures without parts: noise and waves, coloured."""

import math

import numpy as np
from scipy.special import ndtr

from training.textures.arrays import Array
from training.textures.fields import coverage, mix, steepness, turned
from training.textures.kit import TURN, Kit
from training.textures.noise import band_noise, fractal_noise, smooth_noise
from training.textures.palette import rgb_from_lab
from training.textures.paper import paper_and_ink
from training.textures.places import grid


def clouds(kit: Kit) -> Array:
    """Imitate clouds, smoke and plaster: one fractal field from dark to light."""
    scale, slope, hardness = kit.pixels(5, 40), kit.between(1.3, 3), kit.between(0.6, 1.3)
    stretch = kit.choose([1.0, 1.0, 2.5])
    return kit.palette.ramp(ndtr(hardness * fractal_noise(kit, scale, slope, stretch, kit.angle())))


def blotches(kit: Kit) -> Array:
    """Imitate spilt dyes and camouflage: patches of the palette's colours, soft or sharp."""
    scale, slope, sharpness = kit.pixels(3, 30), kit.between(1.3, 4), kit.pixels(1, 12)
    stretch, angle = kit.pixels(1, 3), kit.angle()
    fields = [fractal_noise(kit, scale, slope, stretch, angle) for _ in kit.palette.lab]
    heights = np.stack(fields, axis=-1) + np.log(kit.palette.shares).astype(np.float32) * 0.7
    weights = np.exp(sharpness * (heights - heights.max(axis=-1, keepdims=True)))
    weights /= weights.sum(axis=-1, keepdims=True)
    return np.asarray(weights @ rgb_from_lab(kit.palette.lab), np.float32)


def streaks(kit: Kit) -> Array:
    """Imitate brushed metal, rain and motion: noise drawn out in one direction."""
    angle, scale, stretch, tint = kit.angle(), kit.pixels(0.8, 6), kit.pixels(8, 40), kit.between(0.3, 1)
    broad = smooth_noise(kit, 4 * scale, stretch / 4, angle + kit.between(-0.2, 0.2))
    fine = smooth_noise(kit, scale, stretch, angle)
    return kit.palette.ramp(ndtr(tint * broad + (1.2 - tint) * fine + 0.1 * fractal_noise(kit, 3, 1)))


def waves(kit: Kit) -> Array:
    """Imitate moiré, silk and water: a few sinusoids through warped coordinates."""
    y, x = grid(kit, kit.between(0, 8), kit.pixels(12, 30))
    total, count = np.zeros_like(y), kit.choose([2, 3, 4])
    for _ in range(count):
        along, across = turned(y, x, kit.angle())
        bow, sweep, period = kit.between(0, 3), kit.pixels(30, 60), kit.pixels(5, 40)
        total = total + np.sin(TURN * along / period + bow * np.sin(TURN * across / sweep))
    bands = kit.between(0.4, 2.5)
    return kit.palette.ramp(0.5 + 0.5 * np.sin(bands * total / math.sqrt(count / 2)))


def labyrinth(kit: Kit) -> Array:
    """Imitate the coats of animals, coral and fingerprints: waves of one length that meet in stripes or spots."""
    period, width, bias = kit.pixels(5, 30), kit.between(0.08, 0.35), kit.choose([-1.0, -0.5, 0.0, 0.5, 1.0])
    stretch, angle, hardness = kit.choose([1.0, 1.0, 1.6, 2.5]), kit.angle(), kit.pixels(1, 6)
    band = band_noise(kit, period, width, stretch, angle) + bias
    tone = 0.5 + 0.5 * np.tanh(hardness * band)
    tone = tone + kit.between(0, 0.15) * fractal_noise(kit, 6)
    second = kit.palette.ramp(0.3 * tone + 0.35 + 0.3 * np.tanh(smooth_noise(kit, 20)))
    return mix(kit.palette.ramp(tone), second, np.full_like(tone, kit.between(0, 0.5)))


def contours(kit: Kit) -> Array:
    """Imitate maps and agate: lines of equal height, with or without coloured steps between them."""
    scale, levels, width = kit.pixels(14, 34), kit.between(2, 6), kit.pixels(0.7, 2.5)
    height = levels * (smooth_noise(kit, scale) + 0.15 * smooth_noise(kit, 5))
    steps = np.floor(height)
    distance = np.abs(height - np.rint(height)) / steepness(height)
    lines = coverage(distance - width / 2)
    paper, ink = paper_and_ink(kit)
    ground = kit.palette.ramp(ndtr(steps / levels)) if kit.sometimes(0.5) else paper
    return mix(ground, ink, lines * kit.between(0.6, 1))
