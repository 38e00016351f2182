"""Textures that repeat: tiles and cloths."""

import math
from dataclasses import dataclass

import numpy as np

from training.textures.arrays import Array, Indices
from training.textures.fields import blur, coverage, mix, smoothstep, turned
from training.textures.kit import TURN, Kit
from training.textures.noise import fractal_noise, grained, smooth_noise
from training.textures.places import grid
from training.textures.relief import lit

CODES = 997
"""How many different tiles a tiling has."""

THREADS = 499
"""How many different threads a weave has each way."""


@dataclass(frozen=True)
class Courses:
    """Rows of rectangles: every pixel's rectangle as a number, its place in it from 0 to 1, its depth inside."""

    code: Indices
    u: Array
    v: Array
    inside: Array


def courses(along: Array, across: Array, length: float, width: float, starts: Array) -> Courses:
    """Lay rows of rectangles; row after row begins at the next of `starts`, in rectangles."""
    row = np.floor(across / width)
    place = along / length + starts[row.astype(int) % len(starts)]
    column = np.floor(place)
    u, v = place - column, across / width - row
    inside = np.minimum(np.minimum(u, 1 - u) * length, np.minimum(v, 1 - v) * width)
    return Courses((row * 131 + column * 17).astype(np.intp) % CODES, u, v, inside)


def bricks(kit: Kit) -> Array:
    """Imitate brickwork and flagstones: staggered rows with mortar, each stone fired differently."""
    course, aspect, gap = kit.pixels(6, 24), kit.between(1.4, 3), kit.between(0.6, 2)
    along, across = turned(*grid(kit, kit.between(0, 1), 6), kit.choose([0.0, 0.0, TURN / 8, TURN / 4]))
    starts = np.arange(6) * kit.choose([1 / 2, 1 / 2, 1 / 3])
    laid = courses(along, across, course * aspect, course, starts)
    rough = fractal_noise(kit, 8, 1)
    stones = kit.palette.pick(kit.rng, CODES, kit.between(0.01, 0.05))[laid.code]
    stones = stones * (1 + kit.between(0.03, 0.15) * rough[..., None])
    stones = lit(stones, np.minimum(laid.inside, gap + 2), kit.between(0.1, 0.4), kit.angle())
    mortar = grained(kit, kit.palette.moved(kit.choose([0.25, 0.6, 0.85])), 2, 0.06)
    return mix(stones, mortar, coverage(laid.inside - gap + 0.4 * rough))


def hexagons(kit: Kit) -> Array:
    """Imitate honeycomb and floor tiles: hexagons with rims, domed, hollow or flat."""
    spacing, rim, dome = kit.pixels(7, 34), kit.between(0.6, 2.5), kit.between(-1, 1)
    along, across = turned(*grid(kit, kit.between(0, 1.5), 20), kit.angle())
    height = spacing * math.sqrt(3)
    centres = []
    for shift in (0.0, 0.5):
        column, row = np.rint(along / spacing - shift) + shift, np.rint(across / height - shift) + shift
        centres.append((along - column * spacing, across - row * height, column * 2 + row * 74))
    near = np.hypot(*centres[0][:2]) < np.hypot(*centres[1][:2])
    u, v, cell = (np.where(near, a, b) for a, b in zip(*centres, strict=True))
    reach = np.maximum(np.abs(u), np.abs(u) / 2 + np.abs(v) * math.sqrt(3) / 2)
    inside = spacing / 2 - reach
    colours = kit.palette.pick(kit.rng, CODES, kit.between(0.0, 0.05))[(cell * 57).astype(int) % CODES]
    tiles = lit(colours, dome * spacing * (1 - (reach / spacing * 2) ** 2), 0.3, kit.angle(), 0.4)
    return mix(tiles, kit.palette.moved(kit.choose([0.1, 0.5, 0.9])), coverage(inside - rim / 2))


def banded(colours: Array, ends: Array, place: Array) -> Array:
    """Return the colours of bands that end at `ends`, at a place from 0 to 1."""
    return np.asarray(colours[np.searchsorted(ends, place).clip(0, len(colours) - 1)])


def stripes(kit: Kit) -> Array:
    """Imitate awnings and ticking: stripes of unequal width and colour with frayed edges."""
    period, frayed, angle = kit.pixels(12, 40), kit.between(0, 1.2), kit.angle()
    along, across = turned(*grid(kit, kit.choose([0.0, 1.0, 4.0]), 24), angle)
    count = kit.choose([2, 3, 4, 5])
    ends = np.cumsum(kit.taste.dirichlet(np.full(count, 3)))
    colours = kit.palette.near(kit.taste, kit.taste.permutation(np.linspace(0, 1, count)), 0.03)
    place = (across + frayed * smooth_noise(kit, 1.5)) / period
    cloth = blur(banded(colours, ends, place - np.floor(place)), 0.5)
    thread = kit.between(0, 0.12) * np.sin(TURN * along / kit.pixels(2.5, 5)) + 0.04 * fractal_noise(kit, 4, 1)
    return np.asarray(cloth * (1 + thread[..., None]))


def tartan(kit: Kit) -> Array:
    """Imitate tartan and gingham: bands crossed in a twill, whose threads show one colour or the other."""
    sett, thread = kit.pixels(16, 44), kit.pixels(1.5, 3)
    along, across = turned(*grid(kit, kit.choose([0.0, 0.8]), 20), kit.choose([0.0, 0.0, TURN / 8, 0.4]))
    count = kit.choose([3, 4, 6])
    ends = np.cumsum(kit.taste.dirichlet(np.full(count, 1.5)))
    colours = kit.palette.pick(kit.taste, count, 0.02)
    colours[0], colours[1] = kit.palette.table[20], kit.palette.table[235]
    warp, weft = (banded(colours, ends, np.mod(place / sett, 1)) for place in (along, across))
    over = smoothstep(-0.3, 0.3, np.sin(TURN * (along + across) / (2 * thread)))
    return grained(kit, mix(warp, weft, over), 2, 0.06)


def weave(kit: Kit) -> Array:
    """Imitate baskets, canvas and denim: rounded threads going over and under."""
    thread, over = kit.pixels(3.5, 18), kit.choose([1, 1, 2, 3])
    along, across = turned(*grid(kit, kit.between(0, 1.2), 12), kit.choose([0.0, TURN / 8, 0.3]))
    column, row = np.floor(along / thread), np.floor(across / thread)
    u, v = along / thread - column - 0.5, across / thread - row - 0.5
    upright = np.mod(column + row, 2 * over) < over
    slack = 0.5 * kit.between(0.75, 1)
    side, length = np.where(upright, u, v), np.where(upright, v, u)
    bulge = np.sqrt(np.clip(1 - (side / slack) ** 2, 0, 1)) * (1 - 0.9 * length**2)
    warps, wefts = (kit.palette.pick(kit.rng, THREADS, 0.02) for _ in range(2))
    if kit.sometimes(0.5):
        warps[:], wefts[:] = kit.palette.near(kit.taste, kit.taste.random(2))[:, None]
    threads = np.where(upright[..., None], warps[column.astype(int) % THREADS], wefts[row.astype(int) % THREADS])
    fibre = 0.1 * np.sin(TURN * (side * 3 + length) + 2 * smooth_noise(kit, 3)) + 0.06 * fractal_noise(kit, 2, 1)
    return np.asarray(threads * (0.2 + 0.85 * bulge + fibre)[..., None])


def knit(kit: Kit) -> Array:
    """Imitate knitwear: columns of V-shaped stitches, in stripes or figures of several wools."""
    width = kit.pixels(6, 20)
    height = width * kit.between(0.6, 0.9)
    along, across = turned(*grid(kit, kit.between(0.2, 1.2), 10), kit.choose([0.0, TURN / 4]))
    column = np.floor(along / width)
    u = along / width - column - 0.5
    place = across / height + 1.2 * np.abs(u)
    row = np.floor(place)
    v = place - row - 0.5
    body = np.clip(1 - ((np.abs(u) - 0.25) / 0.27) ** 2, 0, 1) * np.clip(1 - (v / 0.55) ** 2, 0, 1)
    figure = np.mod(column * kit.choose([0, 1, 2]) + row * kit.choose([0, 1, 3]), kit.choose([5, 6, 8])) / 8
    wool = kit.palette.ramp(np.mod(figure + 0.25 * (row % 16 < 8), 1))
    fuzz = 0.12 * np.sin(TURN * (3 * v + 4 * np.abs(u))) + 0.1 * smooth_noise(kit, 1.2)
    return np.asarray(wool * (0.15 + 0.9 * np.sqrt(body) + fuzz * (body > 0))[..., None])


def scales(kit: Kit) -> Array:
    """Imitate fish, shingles and feathers: overlapping rounds in staggered rows."""
    spacing, squash = kit.pixels(8, 34), kit.between(0.4, 0.8)
    along, across = turned(*grid(kit, kit.between(0, 1.5), 16), kit.angle())
    pitch = spacing * squash
    picture = np.zeros((kit.size, kit.size, 3), np.float32)
    colours = kit.palette.pick(kit.rng, CODES, kit.between(0.01, 0.05))
    rim, ribs = kit.palette.moved(kit.choose([0.1, 0.95])), kit.between(0, 0.3)
    strip = np.floor(across / pitch)
    for back in (2, 1, 0):
        row = strip + back - 1
        column = np.rint(along / spacing - 0.5 * (row % 2)) + 0.5 * (row % 2)
        u, v = along - column * spacing, across - row * pitch
        radius = np.hypot(u, v * 0.5 * spacing / pitch if pitch > 0.5 * spacing else v)
        inside = 0.56 * spacing - radius
        shade = 0.55 + 0.6 * radius / spacing + ribs * np.sin(TURN * 5 * np.arctan2(u, v + spacing))
        tile = colours[(row * 37 + column * 2).astype(int) % CODES] * shade[..., None]
        tile = mix(tile, rim, coverage(inside - 1) * 0.8)
        picture = mix(picture, tile, coverage(-inside) * (v > -0.02 * spacing))
    return grained(kit, picture, 3, 0.04)


def patchwork(kit: Kit) -> Array:
    """Imitate quilts and Mondrian: rectangles of flat colour, each cut once more, with seams or bars."""
    cell, seam = kit.pixels(14, 40), kit.pixels(0.8, 4)
    along, across = turned(*grid(kit, kit.choose([0.0, 0.0, 1.2]), 14), kit.choose([0.0, 0.0, TURN / 8]))
    laid = courses(along, across, cell * kit.between(1, 2), cell, kit.rng.random(97))
    cuts = kit.rng.uniform(0.25, 0.75, CODES)[laid.code]
    from_cut = np.where(laid.code % 2, laid.u, laid.v) - cuts
    inside = np.minimum(laid.inside, np.abs(from_cut) * cell)
    code = (2 * laid.code + (from_cut > 0)) % CODES
    cloth = grained(kit, kit.palette.pick(kit.rng, CODES, 0.02)[code], 4, 0.05)
    return mix(cloth, kit.palette.moved(kit.choose([0.08, 0.9])), coverage(inside - seam / 2))
