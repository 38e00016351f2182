"""The bodies in a scene: their shapes, how light falls on them, what they are made of."""

import math
from dataclasses import replace

import numpy as np

from training.textures.arrays import Array
from training.textures.families import SURFACES
from training.textures.fields import coverage, mix, smoothstep, steepness
from training.textures.kit import Kit
from training.textures.noise import fractal_noise
from training.textures.palette import sample_palette


def facing_light(light: Array, right: Array, down: Array, out: Array) -> Array:
    """Return how brightly a surface with these normals is lit, the sky's share included."""
    return np.asarray(0.42 + 0.75 * np.clip(light[0] * right + light[1] * down + light[2] * out, 0, 1))


def ball(kit: Kit, light: Array, y: Array, x: Array) -> tuple[Array, Array]:
    """A body round on every side: its reach (1 at the edge) and its light, with a highlight."""
    reach = np.hypot(y, x)
    out = np.sqrt(np.clip(1 - reach**2, 0, 1))
    bright = facing_light(light, x, y, out)
    return reach, bright + kit.choose([0, 0, 0.5]) * smoothstep(0.97, 1.08, bright)


def lump(kit: Kit, light: Array, y: Array, x: Array) -> tuple[Array, Array]:
    """A body like a stone, a bush or a fruit: a wavy outline, rounded within."""
    theta = np.arctan2(y, x)
    ripples = [a / k * np.cos(k * theta + kit.angle()) for k, a in enumerate(kit.taste.uniform(0, 0.3, 7), start=2)]
    edge = np.clip(0.85 + np.sum(ripples, axis=0), 0.3, 1.05)
    if kit.sometimes(0.4):
        edge = edge * (1 + 0.12 * fractal_noise(kit, kit.size / 8, 1.6))
    reach = np.hypot(y, x) / edge
    flat = kit.between(0.3, 1)
    return reach, facing_light(light, flat * x / edge, flat * y / edge, np.sqrt(np.clip(1 - (flat * reach) ** 2, 0, 1)))


def block(kit: Kit, light: Array, y: Array, x: Array) -> tuple[Array, Array]:
    """A body like a house or a crate: two faces that run away from an edge, often with windows."""
    corner, fall = kit.between(-0.6, 0.6), kit.between(0, 0.5)
    left = x < corner
    y = y * (1 + fall * np.abs(x - corner))
    side = np.where(left, -1, 1)
    bright = facing_light(light, 0.7 * side, np.zeros_like(y), np.full_like(y, 0.7)) * (1 - 0.1 * y)
    if kit.sometimes(0.6):
        columns, floors = kit.between(2, 5), kit.between(2, 6)
        u, v = np.abs(np.mod((x - corner) * columns, 1) - 0.5), np.abs(np.mod(y * floors, 1) - 0.5)
        pane = smoothstep(0.3, 0.24, u) * smoothstep(0.36, 0.3, v)
        bright = bright * (1 - kit.between(-0.3, 0.7) * pane)
    return np.maximum(np.abs(x), np.abs(y)), bright


def post(kit: Kit, light: Array, y: Array, x: Array) -> tuple[Array, Array]:
    """A body like a trunk, a bottle or a lamp post: round across, changing its width along."""
    lengths = kit.taste.uniform(0.15, 0.6) * (1 + kit.between(0, 0.5) * np.sin(kit.between(1, 6) * y + kit.angle()))
    across = (x + kit.between(-0.2, 0.2) * y) / lengths
    bright = facing_light(light, across, np.zeros_like(across), np.sqrt(np.clip(1 - across**2, 0, 1)))
    return np.maximum(np.abs(across), np.abs(y)), bright


BODIES = (ball, lump, lump, block, post)


def body(kit: Kit, light: Array, height: float, width: float) -> Array:
    """Return one body as colour and coverage, (side, side, 4), with a surface of its own."""
    side = math.ceil(2.2 * max(height, width)) + 2
    axis, own = np.arange(side) - (side - 1) / 2, replace(kit, size=side)
    y, x = np.meshgrid(axis / height, axis / width, indexing="ij")
    reach, bright = kit.choose(BODIES)(own, light, y, x)
    if kit.sometimes(0.4):
        own = replace(own, palette=sample_palette(kit.taste))
    plain = 0.1 + 0.9 * own.palette.pick(kit.taste, 1, 0.03)[0]
    if kit.sometimes(0.35):
        patterned = kit.choose(SURFACES)(own)
        colour = mix(plain, np.clip(patterned, 0, 1), np.full((side, side), kit.between(0.3, 1)))
    else:
        clutter = fractal_noise(own, side / 3, kit.between(1.2, 2.2))
        colour = plain * (1 + kit.between(0.02, 0.25) * clutter)[..., None]
    return np.dstack([np.clip(colour * bright[..., None], 0, 1), coverage((reach - 1) / steepness(reach))])
