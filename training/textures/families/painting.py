"""Textures that a brush or a knife leaves."""

import numpy as np
from scipy import ndimage
from scipy.special import ndtr

from training.textures.arrays import Array
from training.textures.canvas import bare, brushed, deposited, lit_canvas, painted
from training.textures.cells import voronoi
from training.textures.directions import eddies, flow
from training.textures.fields import at, blur, coverage, mix, smoothstep, steepness
from training.textures.kit import TURN, Kit
from training.textures.noise import fractal_noise, grained, smooth_noise
from training.textures.paper import on_paper, paper_and_ink
from training.textures.places import grid, scatter
from training.textures.relief import lit
from training.textures.stamps import bar, disc, leaf, make_stamps, slab


def impasto(kit: Kit) -> Array:
    """Imitate van Gogh: thick bristled strokes that follow a flow or eddies, in layers, lit from the side."""
    width, spread = kit.pixels(2.5, 12), kit.between(0.02, 0.07)
    aspect = min(kit.between(3, 8), 45 / width)
    ridge, bend, scale = kit.between(0.2, 0.9), kit.between(0, 0.12), max(kit.pixels(18, 40), 0.8 * width * aspect)
    directions = eddies(kit, scale) if kit.sometimes(0.4) else flow(kit, scale, kit.between(0.1, 1.2))
    tones = ndtr(1.4 * fractal_noise(kit, kit.pixels(8, 26), 2.5))
    canvas = bare(kit, kit.palette.moved(kit.between(0.2, 0.7)))
    for share in (1.3, 1):
        stamps = make_stamps(
            kit, width * aspect * share, width * share, bend=bend, ragged=0.3, bristles=0.8, gaps=0.3, ridge=ridge
        )
        points = scatter(kit, 0.8 * width * share, stamps.margin, 0.6 * aspect, kit.angle())
        canvas = brushed(kit, canvas, stamps, points, directions, tones, spread)
    return lit_canvas(canvas, kit.between(0.5, 1.3), kit.angle(), kit.between(0, 0.25))


def broken_colour(kit: Kit) -> Array:
    """Imitate Monet: short loose dabs of unmixed colours, dark under light."""
    width, aspect = kit.pixels(2.5, 9), kit.between(1.3, 3)
    directions = flow(kit, 20, kit.between(0.2, 0.8))
    tones = ndtr(fractal_noise(kit, kit.pixels(10, 36), 2))
    canvas = bare(kit, kit.palette.table[128])
    stamps = make_stamps(
        kit, width * aspect, width, kit.choose([leaf, bar]), bend=0.15, ragged=0.4, bristles=0.5, gaps=0.4, ridge=0.3
    )
    for shift in (-0.25, 0.0, 0.25):
        points = scatter(kit, 0.95 * width, stamps.margin, aspect)
        layer = np.clip(0.2 + 0.6 * tones + shift, 0, 1)
        canvas = brushed(kit, canvas, stamps, points, directions, layer, kit.between(0.04, 0.1))
    return lit_canvas(canvas, 0.5, kit.angle())


def palette_knife(kit: Kit) -> Array:
    """Imitate oil laid on with a knife: broad flat smears with hard ridges, two colours streaked in each."""
    width, aspect, unrest = kit.pixels(9, 28), kit.between(1.4, 3), kit.between(0.2, 1.2)
    directions = flow(kit, 40, unrest)
    tones = ndtr(1.5 * fractal_noise(kit, 24, 2))
    stamps = make_stamps(
        kit, width * aspect, width, slab, bristles=kit.between(0.2, 0.5), gaps=0.35, ragged=0.1, ridge=1.5
    )
    scrapes = make_stamps(kit, width * aspect, 0.3 * width, leaf, bristles=0.5, gaps=0.9, ragged=0.5)
    canvas = bare(kit, kit.palette.table[60])
    for _ in range(2):
        for tool, spacing in ((stamps, 0.7 * width), (scrapes, 0.8 * width)):
            points = scatter(kit, spacing, tool.margin, aspect)
            canvas = brushed(kit, canvas, tool, points, directions, tones, kit.between(0.03, 0.08))
    return lit_canvas(canvas, kit.between(0.4, 0.9), kit.angle(), 0.4)


def dry_brush(kit: Kit) -> Array:
    """Imitate a nearly dry brush: broad scratchy strokes that leave the ground showing between the hairs."""
    width, aspect, unrest = kit.pixels(12, 36), kit.between(2, 4.5), kit.between(0.05, 0.7)
    paper, _ = paper_and_ink(kit)
    directions = flow(kit, 40, unrest)
    canvas = bare(kit, grained(kit, paper, 3, 0.03))
    stamps = make_stamps(kit, width * aspect, width, bend=0.04, ragged=0.35, bristles=0.5, gaps=0.95, variants=3)
    for _ in range(kit.choose([1, 2, 3])):
        points = scatter(kit, width * kit.between(0.8, 1.3), stamps.margin, aspect)
        canvas = brushed(kit, canvas, stamps, points, directions, ndtr(smooth_noise(kit, 24)), 0.03)
    return canvas[..., :3]


def scumble(kit: Kit) -> Array:
    """Imitate old oil on canvas: thin tones rubbed over each other, the weave showing through, fine craquelure."""
    thread, scale, rub = kit.pixels(2.5, 5), kit.pixels(10, 34), kit.between(0.2, 0.8)
    y, x = grid(kit, 0.4, 10)
    cloth = np.sin(TURN * x / thread) * np.sin(TURN * y / thread) + 0.5 * smooth_noise(kit, 1)
    picture = kit.palette.ramp(ndtr(fractal_noise(kit, scale, 2.5)))
    for _ in range(3):
        stroke = smooth_noise(kit, kit.pixels(1.5, 4), 5, kit.angle()) + smooth_noise(kit, 22)
        veil = kit.palette.ramp(ndtr(fractal_noise(kit, scale, 2.5)))
        picture = mix(picture, veil, 0.8 * smoothstep(0.2, 1.4, stroke + rub * cloth))
    cells = voronoi(kit, kit.pixels(8, 24), 1, 1.5)
    crackle = coverage(cells.inside - 0.1) * smoothstep(0, 1, smooth_noise(kit, 20) + 0.4) * kit.choose([0, 0.3, 0.6])
    return lit(picture, cloth, kit.between(0.05, 0.2), kit.angle()) * (1 - crackle[..., None])


def pointillism(kit: Kit) -> Array:
    """Imitate Seurat: round dots of pure colours, neighbours of contrasting hue, over a ground."""
    width, spacing = kit.pixels(2.2, 9), kit.between(0.75, 1.2)
    tones = ndtr(smooth_noise(kit, kit.pixels(12, 28)))
    stamps = make_stamps(kit, width * kit.between(1, 1.3), width, disc, bristles=0.15, ridge=kit.between(0, 0.4))
    canvas = bare(kit, kit.palette.moved(kit.choose([0.3, 0.75, 0.93]), -1))
    spread = kit.between(0.1, 0.35)
    for _ in range(2):
        points = scatter(kit, spacing * width, stamps.margin)
        own = np.clip(at(tones, points) + spread * kit.rng.standard_normal(len(points)), 0, 1)
        colours = kit.palette.near(kit.rng, own, 0.05)
        canvas = painted(canvas, stamps, points, stamps.at_random(kit.rng, len(points)), colours)
    return lit_canvas(canvas, kit.between(0, 0.3), kit.angle())


def gouache(kit: Kit) -> Array:
    """Imitate poster paint and cut paper: flat shapes with crisp edges over one another, faintly streaked."""
    scale, slope, streak, angle = kit.pixels(7, 22), kit.between(3.5, 7), kit.between(0.01, 0.06), kit.angle()
    picture: Array = kit.palette.table[kit.choose([10, 240])]
    for colour in [*kit.palette.pick(kit.taste, 5, 0.03), kit.palette.table[250], kit.palette.table[5]]:
        shape = fractal_noise(kit, scale, slope) - kit.between(0.4, 1.1)
        brush = 1 + streak * smooth_noise(kit, 1.2, 10, angle)
        picture = mix(picture, colour * brush[..., None], coverage(-shape / steepness(shape)))
    return picture


def watercolour(kit: Kit) -> Array:
    """Imitate washes: clear layers with dark edges, pigment settled in the paper's grain, wet blooms."""
    scale, grain, edge = kit.pixels(9, 26), kit.between(0.05, 0.3), kit.between(0.2, 0.8)
    paper, strength = kit.palette.moved(kit.between(0.94, 0.99), -1, 0.15), kit.between(0.25, 0.75)
    tooth = fractal_noise(kit, kit.pixels(1.5, 4), 1.2)
    picture = paper * (1 + 0.012 * tooth[..., None])
    for pigment in kit.palette.pick(kit.taste, kit.choose([3, 4, 5]), 0.03):
        shape = fractal_noise(kit, scale, kit.between(3, 5)) + 0.06 * fractal_noise(kit, 5, 1.5)
        shape = shape - kit.between(-0.5, 0.6)
        from_edge = shape / steepness(blur(shape, 2))
        softness = kit.choose([0.8, 0.8, 5])
        wash = smoothstep(-softness, softness, from_edge)
        rim = edge * np.exp(-np.clip(from_edge, 0, None) / 1.6) * (softness < 1)
        pool = np.clip(0.45 + 0.22 * fractal_noise(kit, scale, 2.5) + rim, 0.08, None)
        density = wash * pool * np.clip(1 + grain * tooth, 0, None)
        picture = picture * np.clip(pigment + 0.03, 0.03, 1) ** (strength * density[..., None])
    return picture


def wet_ink(kit: Kit) -> Array:
    """Imitate ink wash: brush marks running into wet paper, feathered fronts, from full to faint."""
    width, aspect, runs = kit.pixels(8, 24), kit.between(1, 3.5), kit.between(1, 5)
    stamps = make_stamps(kit, width * aspect, width, leaf, bend=0.2, ragged=0.4, bristles=0.5, gaps=0.5)
    density = np.zeros((kit.size, kit.size), np.float32)
    reach = kit.between(0.2, 0.5) * width
    for strength, spacing in ((0.25, 1.1), (0.6, 1.6), (2.2, 2.4)):
        points = scatter(kit, spacing * width, stamps.margin, aspect)
        kinds, amounts = stamps.at_random(kit.rng, len(points)), strength * kit.rng.uniform(0.5, 1.3, len(points))
        y, x = grid(kit, runs * reach / 6, kit.pixels(2, 6))
        marks = deposited(kit, stamps.marks, points, kinds, amounts)
        run = ndimage.map_coordinates(blur(marks, 0.3 * reach), [y, x], order=1, mode="nearest")
        density += 0.6 * run + 0.4 * marks
        density += 0.5 * strength * np.exp(-(((run - 0.4 * strength) / (0.12 * strength)) ** 2)) * kit.choose([0, 0.5])
    return on_paper(kit, density, kit.between(0.05, 0.3))
