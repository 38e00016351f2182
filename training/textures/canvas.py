"""Stamps put down on a canvas, as paint that covers or as pigment that adds up."""

import numpy as np

from training.textures.arrays import Array, Indices
from training.textures.fields import at
from training.textures.kit import Kit
from training.textures.relief import lit
from training.textures.stamps import Stamps


def bare(kit: Kit, colour: Array) -> Array:
    """Return a canvas: three channels of colour and one for the height of the paint."""
    canvas = np.zeros((kit.size, kit.size, 4), np.float32)
    canvas[..., :3] = colour
    return canvas


def painted(canvas: Array, stamps: Stamps, points: Array, kinds: Indices, colours: Array) -> Array:
    """Return the canvas with stamps of paint laid over it one after the other."""
    side = stamps.side
    work = np.pad(canvas, ((side, side), (side, side), (0, 0)), mode="edge")
    corners = np.clip(np.rint(points + side / 2), 0, len(work) - side).astype(int).tolist()
    tints = np.concatenate([colours, np.ones((len(colours), 1))], axis=1).astype(np.float32)
    for (top, left), kind, tint in zip(corners, kinds.tolist(), tints, strict=True):
        patch = work[top : top + side, left : left + side]
        patch += (stamps.paint[kind] * tint - patch) * stamps.alpha[kind]
    return work[side:-side, side:-side]


def painted_twice(
    canvas: Array,
    under: Stamps,
    over: Stamps,
    points: Array,
    kinds: Indices,
    colours: tuple[Array, Array],
    shift: float = 0,
) -> Array:
    """Return the canvas with pairs of stamps: a shadow or a rim, `shift` pixels off, and at once the shape over it."""
    missing = under.side - over.side
    around = ((0, 0), (missing // 2, missing - missing // 2), (missing // 2, missing - missing // 2), (0, 0))
    alpha = np.concatenate([under.alpha, np.pad(over.alpha, around)])
    paint = np.concatenate([under.paint, np.pad(over.paint, around)])
    both = Stamps(alpha, paint, over.variants)
    places = np.stack([points + shift, points], axis=1).reshape(-1, 2)
    pairs = np.stack([kinds, kinds + len(under.alpha)], axis=1).ravel()
    return painted(canvas, both, places, pairs, np.stack(colours, axis=1).reshape(-1, 3))


def brushed(
    kit: Kit, canvas: Array, stamps: Stamps, points: Array, directions: Array, tones: Array, spread: float
) -> Array:
    """Return the canvas with strokes at `points` that follow a field of directions and take their colour from tones."""
    kinds = stamps.facing(kit.rng, at(directions, points) + 0.12 * kit.rng.standard_normal(len(points)))
    return painted(canvas, stamps, points, kinds, kit.palette.near(kit.rng, at(tones, points), spread))


def deposited(kit: Kit, marks: Array, points: Array, kinds: Indices, amounts: Array) -> Array:
    """Return the pigment that marks (n, side, side) leave on dry paper: it adds up where they overlap."""
    side = marks.shape[1]
    work = np.zeros((kit.size + 2 * side, kit.size + 2 * side), np.float32)
    corners = np.clip(np.rint(points + side / 2), 0, len(work) - side).astype(int).tolist()
    for (top, left), kind, amount in zip(corners, kinds.tolist(), amounts.astype(np.float32), strict=True):
        work[top : top + side, left : left + side] += amount * marks[kind]
    return work[side:-side, side:-side]


def lit_canvas(canvas: Array, depth: float, angle: float, gloss: float = 0) -> Array:
    """Return the colours of a canvas, its paint lit from one side."""
    return lit(canvas[..., :3], canvas[..., 3], depth, angle, gloss)
