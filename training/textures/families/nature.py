"""Textures of materials, plants and animals."""

import math
from dataclasses import replace

import numpy as np
from scipy import ndimage
from scipy.special import ndtr

from training.textures.arrays import Array
from training.textures.canvas import bare, brushed, lit_canvas, painted_twice
from training.textures.cells import voronoi
from training.textures.directions import flow
from training.textures.fields import at, blur, coverage, mix, smoothstep, steepness, turned
from training.textures.kit import TURN, Kit
from training.textures.noise import band_noise, fractal_noise, smooth_noise
from training.textures.places import grid, scatter
from training.textures.relief import lit
from training.textures.stamps import leaf, make_stamps, thorn


def wood(kit: Kit) -> Array:
    """Imitate planed wood: year rings cut lengthwise, dark late wood, pores along the grain."""
    period, angle, wander = kit.pixels(4, 20), kit.angle(), kit.between(0.3, 2)
    _, across = turned(*grid(kit), angle)
    place = across / period + wander * smooth_noise(kit, 22, 4, angle) + 0.05 * smooth_noise(kit, 1.5, 12, angle)
    ring = place - np.floor(place)
    early = ring ** kit.between(1, 3) * smoothstep(1, 0.9, ring)
    fibre = smooth_noise(kit, 0.8, 14, angle)
    pores = smoothstep(1.4, 2.2, smooth_noise(kit, 0.7, 8, angle)) * kit.between(0, 0.5)
    return kit.palette.ramp(np.clip(0.85 - 0.65 * early + 0.07 * fibre, 0, 1)) * (1 - pores[..., None])


def marble(kit: Kit) -> Array:
    """Imitate polished marble: thin branching veins in a cloudy ground."""
    scale, width, warp = kit.pixels(10, 24), kit.pixels(0.4, 2), kit.between(1, 4)
    y, x = grid(kit, warp, 12)
    angle, stretch = kit.angle(), kit.between(1.5, 4)
    cloud, light = fractal_noise(kit, 26, 2), kit.sometimes(0.6)
    veins = np.zeros_like(cloud)
    for share in (1, 0.6, 0.6):
        field = fractal_noise(kit, scale * share, 3, stretch, angle)
        field = ndimage.map_coordinates(field, [y, x], order=1, mode="grid-wrap")
        distance = np.abs(field) / steepness(field)
        thick = width * share * np.exp(0.7 * smooth_noise(kit, 16))
        veins = np.maximum(veins, share * np.exp(-distance / thick) * ndtr(2 * smooth_noise(kit, 24) + 1))
    ground = kit.palette.ramp(ndtr(0.6 * cloud + (0.9 if light else -0.9)))
    return mix(ground, kit.palette.table[8 if light else 248], veins)


def fur(kit: Kit) -> Array:
    """Imitate fur and hair: thousands of fine tapering hairs that lie one way, dark at the root, in patches."""
    length, width = kit.pixels(8, 34), kit.pixels(1, 2.4)
    directions = flow(kit, 36, kit.between(0.1, 0.5))
    tones = ndtr(1.3 * smooth_noise(kit, kit.pixels(10, 30)))
    stamps = make_stamps(kit, length, width, thorn, bend=0.12, bristles=0.2, variants=6)
    canvas = bare(kit, kit.palette.table[10] * 0.6)
    for shade in (0.35, 0.7, 1):
        points = scatter(kit, max(1.6, 0.9 * width), stamps.margin, 0.35 * length / width)
        canvas = brushed(kit, canvas, stamps, points, directions, tones * shade, 0.04)
    return canvas[..., :3]


def grass(kit: Kit) -> Array:
    """Imitate meadows and straw: long bent blades crossing each other, darker below."""
    length, width = kit.pixels(16, 50), kit.pixels(1.6, 4.5)
    directions = flow(kit, 12, kit.between(0.2, 1.2))
    stamps = make_stamps(kit, length, width, leaf, bend=0.2, ridge=0.5, variants=6)
    canvas = bare(kit, kit.palette.table[5] * 0.4)
    for shade in (0.15, 0.4, 0.65, 0.9):
        points = scatter(kit, 2.2 * width, stamps.margin, 0.4 * length / width)
        tones = np.clip(shade + 0.2 * smooth_noise(kit, 8), 0, 1)
        canvas = brushed(kit, canvas, stamps, points, directions, tones, 0.03)
    return lit_canvas(canvas, 0.4, kit.angle())


def foliage(kit: Kit) -> Array:
    """Imitate leaves: pointed blades with a midrib, heaped in all directions, light above and dark below."""
    length, aspect = kit.pixels(8, 36), kit.between(0.25, 0.7)
    stamps = make_stamps(kit, length, length * aspect, leaf, bend=0.1, bristles=0.25, ridge=-0.4)
    shadow = replace(stamps, alpha=stamps.alpha * np.float32(0.6))
    canvas = bare(kit, kit.palette.table[0] * 0.3)
    for shade in (0.1, 0.4, 0.7):
        points = scatter(kit, 0.75 * length * math.sqrt(aspect), stamps.margin)
        colours = kit.palette.near(kit.rng, np.clip(shade + 0.3 * kit.rng.random(len(points)), 0, 1), 0.03)
        kinds = stamps.at_random(kit.rng, len(points))
        canvas = painted_twice(canvas, shadow, stamps, points, kinds, (0.2 * colours, colours), max(1.5, 0.07 * length))
    return lit_canvas(canvas, 0.3, kit.angle())


def granite(kit: Kit) -> Array:
    """Imitate granite and terrazzo: crystals or chips of a few minerals in a fine matrix."""
    spacing, chips = kit.pixels(3, 16), kit.sometimes(0.5)
    cells = voronoi(kit, spacing, 1, 0.1 * spacing)
    speckle = 1 + 0.07 * kit.rng.standard_normal((kit.size, kit.size, 1)).astype(np.float32)
    minerals = cells.coloured(kit.palette.pick(kit.rng, cells.count, 0.04))
    minerals = minerals * (1 + 0.06 * fractal_noise(kit, 4)[..., None])
    matrix = kit.palette.ramp(ndtr(0.5 * fractal_noise(kit, 3, 1) + kit.between(-1, 1))) * speckle
    kept = kit.rng.random(cells.count)[cells.index] < (0.55 if chips else 0.85)
    shape = blur(cells.inside, 0.06 * spacing) - (0.08 * spacing + 0.5 if chips else 0)
    return mix(matrix, minerals, coverage(-shape) * kept)


def bark(kit: Kit) -> Array:
    """Imitate bark: long plates along the trunk, fibrous and stepped, with deep furrows between."""
    spacing, aspect, wobble = kit.pixels(10, 28), kit.pixels(2, 5), kit.between(0.08, 0.2)
    trunk = kit.choose([TURN / 4, TURN / 4, 0.0])
    plates = voronoi(kit, spacing, 1, wobble * spacing, aspect, angle=trunk)
    fibres = smooth_noise(kit, 1, 6, trunk) + 0.6 * fractal_noise(kit, 8, 1.8)
    rise = np.tanh(plates.inside / (0.12 * spacing) + 0.15 * fibres)
    steps = kit.rng.standard_normal(plates.count).astype(np.float32)[plates.index]
    height = 3 * rise + kit.between(0.15, 0.4) * fibres + 0.4 * steps
    tone = ndtr(1.8 * rise - 1 + 0.3 * fibres + 0.3 * steps)
    return lit(kit.palette.ramp(tone), blur(height, 0.5), kit.between(0.2, 0.5), kit.angle())


def stone(kit: Kit) -> Array:
    """Imitate hewn rock: rough relief in raking light, with strata or pits."""
    scale, slope, depth = kit.pixels(8, 34), kit.between(1.8, 3), kit.pixels(1.2, 4)
    angle, stretch = kit.angle(), kit.choose([1.0, 1.0, 3.0])
    height = fractal_noise(kit, scale, slope, stretch, angle)
    terraces = kit.choose([0.0, 0.0, 0.3])
    height = height + terraces * np.round(2.5 * height) / 2.5
    pits = smoothstep(1.3, 2, smooth_noise(kit, kit.pixels(2, 5))) * kit.between(0, 1)
    tone = ndtr(0.5 * height + 0.6 * fractal_noise(kit, 10, 1.2))
    return lit(kit.palette.ramp(tone), height - pits, depth, kit.angle()) * (1 - 0.5 * pits[..., None])


def sand(kit: Kit) -> Array:
    """Imitate wind ripples: wandering crests that fork, grains on top."""
    period, angle = kit.pixels(7, 26), kit.angle()
    crest = band_noise(kit, period, 0.12, 2.5, angle)
    height = period / 6 * (crest + 0.3 * crest**2)
    grains = kit.rng.standard_normal((kit.size, kit.size)).astype(np.float32)
    tone = ndtr(0.5 * crest + kit.between(0.1, 0.35) * blur(grains, 0.5) + 0.3)
    return lit(kit.palette.ramp(tone), height, kit.between(0.4, 0.9), angle + TURN / 4) * (1 + 0.06 * grains[..., None])


def water(kit: Kit) -> Array:
    """Imitate light on shallow water: a net of bright lines, some sharp and some soft, over a rippled ground."""
    spacing, stretch = kit.pixels(10, 36), kit.pixels(1, 2.5)
    net = np.zeros((kit.size, kit.size), np.float32)
    for share, weight in ((1, 1), (0.7, 0.6)):
        cells = voronoi(kit, share * spacing, 1, 0.16 * spacing, stretch)
        net += weight * np.exp(-np.abs(cells.inside) / (kit.between(0.04, 0.14) * spacing + 0.5))
    net = blur(net, 0.6)
    swell = smooth_noise(kit, spacing)
    ground = kit.palette.ramp(np.clip(0.1 + 0.45 * ndtr(swell) + 0.35 * net, 0, 1))
    return mix(ground, kit.palette.table[255] * 0.4 + 0.6, np.clip(0.9 * net - 0.25 + 0.15 * swell, 0, 1) ** 1.5)


def lichen(kit: Kit) -> Array:
    """Imitate rust, lichen and peeling paint: crusts with bright rims that have eaten into a surface."""
    scale, slope = kit.pixels(8, 26), kit.between(1.8, 3)
    picture = kit.palette.ramp(np.clip(kit.between(0, 0.7) + 0.3 * ndtr(fractal_noise(kit, 20, 1.8)), 0, 1))
    height = 0.3 * fractal_noise(kit, 4, 1.3)
    for colour in kit.palette.pick(kit.taste, kit.choose([1, 2, 3]), 0.04):
        crust = fractal_noise(kit, scale, slope) + 0.1 * smooth_noise(kit, 1.5) - kit.between(0, 0.8)
        mask, rim = coverage(-crust / steepness(blur(crust, 1))), np.exp(-((crust / 0.15) ** 2))
        skin = colour * (0.8 + 0.5 * rim + 0.1 * fractal_noise(kit, 3, 1))[..., None]
        picture, height = mix(picture, skin, mask), height + 1.2 * mask
    return lit(picture, height, kit.between(0.2, 0.6), kit.angle())


def feathers(kit: Kit) -> Array:
    """Imitate plumage: overlapping soft vanes with barbs, edged light or dark, all lying one way."""
    length, aspect = kit.pixels(14, 40), kit.between(0.35, 0.7)
    directions = flow(kit, 40, 0.15)
    canvas = bare(kit, kit.palette.table[20])
    inner = make_stamps(kit, 0.8 * length, 0.75 * length * aspect, leaf, bristles=0.7, variants=6)
    outer = make_stamps(kit, length, length * aspect, leaf, bristles=0.3, variants=6)
    rim = kit.palette.near(kit.taste, kit.taste.random(1))
    points = scatter(kit, 0.4 * length * aspect, outer.margin, 0.8 / aspect)
    angles = at(directions, points) + 0.1 * kit.rng.standard_normal(len(points))
    colours = kit.palette.near(kit.rng, kit.rng.random(len(points)), 0.02)
    rims = np.tile(rim, (len(points), 1))
    canvas = painted_twice(canvas, outer, inner, points, outer.facing(kit.rng, angles), (rims, colours))
    return canvas[..., :3]
