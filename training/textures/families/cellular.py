"""Textures of irregular cells."""

import math

import numpy as np
from scipy.special import ndtr

from training.textures.arrays import Array
from training.textures.canvas import deposited
from training.textures.cells import voronoi
from training.textures.fields import at, blur, coverage, mix, smoothstep, turned
from training.textures.kit import TURN, Kit
from training.textures.noise import fractal_noise, grained, smooth_noise
from training.textures.places import scatter
from training.textures.relief import lit


def facets(kit: Kit) -> Array:
    """Imitate low polygons and crumpled foil: flat cells, each of one colour, each tilted to the light a little."""
    cells = voronoi(kit, kit.pixels(6, 36), kit.between(0.5, 1), aspect=kit.pixels(1, 2.5))
    colours = kit.palette.pick(kit.rng, cells.count, kit.between(0.01, 0.06))
    tilts = kit.between(0, 0.5) * kit.rng.standard_normal((cells.count, 2)).astype(np.float32)
    slope = (tilts[cells.index] * np.stack([cells.y, cells.x], axis=-1)).sum(axis=-1)
    return blur(cells.coloured(colours) * (1 + 0.05 * slope[..., None]), 0.4)


def cubism(kit: Kit) -> Array:
    """Imitate analytic cubism: straight edges in a few directions, each fading to one side, over brushed planes."""
    spacing, fade, depth = kit.pixels(10, 30), kit.pixels(4, 16), kit.between(0.5, 1.1)
    ways = kit.angle() + np.arange(6) * TURN / 6 + 0.15 * kit.taste.standard_normal(6)
    reach = 1.6 * spacing
    axis = np.arange(-math.ceil(reach + fade), math.ceil(reach + fade) + 1.0)
    along, across = turned(axis[:, None], axis, ways[:, None, None])
    ends = smoothstep(reach, 0.8 * reach, np.abs(along)) * smoothstep(reach + fade, reach, np.abs(across))
    sides, edges = ends * np.exp(-np.abs(across) / fade) * coverage(-across), ends * coverage(np.abs(across) - 0.3)
    points = scatter(kit, spacing, len(axis) / 2)
    kinds, weights = kit.rng.integers(6, size=len(points)), kit.rng.uniform(0.4, 1, len(points))
    tone = deposited(kit, sides, points, kinds, weights)
    planes = depth * (tone - tone.mean()) / (tone.std() + 1e-3)
    brush = kit.between(0.05, 0.25) * sum(smooth_noise(kit, 1.3, 6, kit.angle()) for _ in range(2))
    picture = kit.palette.ramp(ndtr(planes + 0.6 * fractal_noise(kit, 26, 2) + brush))
    lines = np.clip(deposited(kit, edges, points, kinds, weights), 0, 1) * kit.choose([0, 0.4, 0.8])
    return mix(picture, kit.palette.moved(0.15), lines)


def pebbles(kit: Kit) -> Array:
    """Imitate gravel and river stones: rounded cells, lit from one side, with dark gaps."""
    spacing, gap = kit.pixels(7, 36), kit.between(0.02, 0.08)
    cells = voronoi(kit, spacing, 0.9, 0.04 * spacing, kit.pixels(1, 2))
    colours = cells.coloured(kit.palette.pick(kit.rng, cells.count, 0.03))
    rounded = blur(cells.inside, 0.09 * spacing) - (0.05 + gap) * spacing
    rise = np.clip(rounded / (0.3 * spacing), 0, 1)
    dome = np.sqrt(1 - (1 - rise) ** 2)
    stone = colours * (0.6 + 0.4 * dome * (1 + 0.12 * fractal_noise(kit, 4, 1.2)))[..., None]
    stone = lit(stone, blur(dome, 0.7) * spacing, kit.between(0.15, 0.35), kit.angle(), kit.between(0, 0.4))
    return mix(stone, kit.palette.moved(kit.choose([0.08, 0.2, 0.5])), coverage(rounded))


def mosaic(kit: Kit) -> Array:
    """Imitate Roman mosaic: small near-square stones with grout, in areas of one colour."""
    spacing, gap = kit.pixels(5, 18), kit.between(0.6, 1.6)
    cells = voronoi(kit, spacing, kit.between(0.1, 0.4), stagger=kit.choose([0.0, 0.0, 1.0]))
    areas = ndtr(1.3 * smooth_noise(kit, kit.pixels(12, 30)))
    rows, columns = np.mgrid[: kit.size, : kit.size]
    centres = np.stack([rows - cells.y, columns - cells.x], axis=-1)
    tones = at(areas, centres.reshape(-1, 2)).reshape(cells.inside.shape)
    wear = kit.rng.uniform(0.82, 1.12, cells.count).astype(np.float32)[cells.index]
    stones = kit.palette.ramp(tones) * wear[..., None]
    stones = lit(stones, np.minimum(cells.inside, gap + 1.5), 0.25, kit.angle())
    grout = grained(kit, kit.palette.moved(kit.choose([0.2, 0.5, 0.85])), 2, 0.06)
    return mix(stones, grout, coverage(cells.inside - gap))


def stained_glass(kit: Kit) -> Array:
    """Imitate leaded windows: glowing uneven panes between thick dark bars."""
    spacing = kit.pixels(14, 40)
    cells = voronoi(kit, spacing, 0.9, kit.between(0, 3), kit.pixels(1, 2))
    panes = cells.coloured(kit.palette.pick(kit.rng, cells.count, 0.05))
    glow = 0.75 + 0.5 * smoothstep(0, 0.4 * spacing, cells.inside) + 0.12 * smooth_noise(kit, 5, 3)
    lead = coverage(cells.inside - kit.between(1, 3.5))
    return mix(panes * glow[..., None], np.full(3, 0.07, np.float32), lead)


def cracks(kit: Kit) -> Array:
    """Imitate dried mud, craquelure and old glaze: plates split along wide cracks and those along fine ones."""
    spacing, relief = kit.pixels(16, 40), kit.between(0.2, 0.7)
    wide = voronoi(kit, spacing, 1, kit.between(1, 3))
    fine = voronoi(kit, spacing / kit.between(2.5, 4), 1, 1.5)
    rough = fractal_noise(kit, 12, kit.between(1, 2))
    tone = ndtr(0.7 * rough + 0.6 * kit.rng.standard_normal(wide.count).astype(np.float32)[wide.index])
    depth = np.minimum(wide.inside, 4) + 0.4 * np.minimum(fine.inside, 1.5) + 0.3 * rough
    plates = lit(kit.palette.ramp(tone), depth, relief, kit.angle())
    dark = kit.palette.moved(kit.between(0.05, 0.25))
    opening = coverage(wide.inside - kit.between(0.8, 2) + 0.4 * rough)
    return mix(plates, dark, np.maximum(opening, 0.7 * coverage(fine.inside - 0.1)))


def ornament(kit: Kit) -> Array:
    """Imitate Klimt's gold cloth: cells of rings, spirals, eyes and checks on a shimmering ground."""
    spacing = kit.pixels(14, 34)
    cells = voronoi(kit, spacing, kit.between(0.2, 0.8))
    y, x, radius = cells.y, cells.x, np.hypot(cells.y, cells.x)
    period = spacing / kit.between(2.5, 6)
    theta = np.arctan2(y, x) / TURN
    motifs = np.stack(
        [
            np.sin(TURN * radius / period),
            np.sin(TURN * (radius / period + theta)),
            np.sin(TURN * x / period / 1.5) * np.sin(TURN * y / period / 1.5),
            np.sin(TURN * 6 * theta) * np.sin(TURN * radius / period / 2),
        ],
        axis=-1,
    )
    allowed = kit.taste.permutation(4)[: kit.choose([1, 2, 4])]
    kinds = allowed[kit.rng.integers(len(allowed), size=cells.count)][cells.index]
    wave = np.take_along_axis(motifs, kinds[..., None], axis=-1)[..., 0]
    first, second = (
        kit.palette.near(kit.rng, half + kit.rng.random(cells.count) / 2)[cells.index] for half in (0, 0.5)
    )
    figure = mix(first, second, smoothstep(-0.4, 0.4, wave))
    flakes = 0.25 * smooth_noise(kit, 2) + 0.4 * smooth_noise(kit, 20)
    ground = lit(kit.palette.ramp(ndtr(flakes + kit.between(-1, 1))), flakes, 0.6, kit.angle())
    reach = (cells.inside - 0.06 * spacing) if kit.sometimes(0.5) else 0.45 * spacing - radius
    return mix(ground, figure, np.minimum(coverage(-reach), coverage(-cells.inside)))
