"""Textures of pens, pencils, crayons and charcoal."""

import numpy as np
from scipy.special import ndtr

from training.textures.arrays import Array
from training.textures.canvas import deposited
from training.textures.fields import at, blur, mix, smoothstep
from training.textures.kit import Kit
from training.textures.noise import fractal_noise, smooth_noise
from training.textures.paper import on_paper, paper_and_ink
from training.textures.places import scatter
from training.textures.stamps import disc, leaf, make_stamps


def hatch(kit: Kit, spacing: float, width: float, length: float, angle: float, tones: Array) -> Array:
    """Return the pigment of parallel lines where tones are dark; the darker, the harder pressed."""
    stamps = make_stamps(kit, length, width, leaf, bend=0.03, ragged=0.3, heading=angle, variants=24)
    points = scatter(kit, spacing, stamps.margin, 0.8 * length / spacing, angle, 0.35)
    pressure = np.clip(1.6 * (0.75 - at(tones, points)), 0, 1) * kit.rng.uniform(0.7, 1.3, len(points))
    drawn = pressure > 0.05
    return deposited(
        kit, stamps.marks, points[drawn], stamps.at_random(kit.rng, int(drawn.sum())), 2.5 * pressure[drawn]
    )


def hatching(kit: Kit) -> Array:
    """Imitate pen hatching: parallel lines one way, denser in the shadows."""
    spacing, angle, length = kit.pixels(2.2, 7), kit.angle(), kit.pixels(16, 60)
    width = min(spacing * kit.between(0.3, 0.6), 2.6)
    tones = ndtr(smooth_noise(kit, kit.pixels(14, 36)) - kit.between(0.3, 1.2))
    return on_paper(kit, hatch(kit, spacing, width, length, angle, tones), kit.between(0, 0.3))


def cross_hatching(kit: Kit) -> Array:
    """Imitate pen cross-hatching: two to four directions, one more for every darker tone."""
    spacing, angle, length = kit.pixels(2.5, 9), kit.angle(), kit.pixels(14, 40)
    width, ways, step = spacing * kit.between(0.25, 0.45), kit.choose([2, 3, 4]), kit.between(0.6, 1.6)
    tones = ndtr(smooth_noise(kit, kit.pixels(14, 36)) - 0.8)
    layers = [hatch(kit, spacing, width, length, angle + n * step, tones + 0.15 * n) for n in range(ways)]
    return on_paper(kit, np.sum(layers, axis=0), kit.between(0, 0.3))


def pencil(kit: Kit) -> Array:
    """Imitate graphite and coloured pencils: soft overlapping strokes that catch on the paper's tooth."""
    spacing, length, sway = kit.pixels(1.6, 4), kit.pixels(16, 50), kit.between(0.2, 1)
    paper, ink = paper_and_ink(kit)
    colours = [ink] if kit.sometimes(0.4) else list(kit.palette.pick(kit.taste, 3))
    tooth = fractal_noise(kit, kit.pixels(1.5, 3), 1.5)
    picture = paper * (1 + 0.02 * tooth[..., None])
    angle = kit.angle()
    for colour in [*colours, colours[0]]:
        tones = ndtr(smooth_noise(kit, 26) - 0.4)
        density = hatch(kit, spacing, 1.6 * spacing, length, angle + kit.between(-sway, sway), tones)
        caught = (1 - np.exp(-0.35 * density)) * smoothstep(-1.2, 0.8, tooth + 0.5 * density - 0.6)
        picture = mix(picture, colour, 0.9 * caught)
    return picture


def crayon(kit: Kit) -> Array:
    """Imitate wax crayon and oil pastel: separate waxy strokes, broken by coarse paper, colours over each other."""
    width, rough, angle = kit.pixels(4, 12), kit.pixels(1.6, 4), kit.angle()
    paper, ink = paper_and_ink(kit)
    tooth = fractal_noise(kit, rough, 1.4)
    picture = paper * (1 + 0.02 * tooth[..., None])
    stamps = make_stamps(kit, kit.pixels(24, 50), width, bend=0.06, ragged=0.3, bristles=0.6, gaps=0.3)
    unrest = kit.between(0.05, 0.8)
    for colour in [*kit.palette.pick(kit.taste, kit.choose([1, 2, 3]), 0.04), ink]:
        points = scatter(kit, 1.3 * width, stamps.margin, 4, angle)
        kinds = stamps.facing(kit.rng, angle + unrest * kit.rng.standard_normal(len(points)))
        wax = deposited(kit, stamps.marks, points, kinds, kit.rng.uniform(0.4, 1, len(points)))
        picture = mix(picture, colour, 0.92 * smoothstep(0.1, 0.5, np.minimum(wax, 1.2) - 0.45 * ndtr(-1.5 * tooth)))
        angle += kit.between(-1, 1)
    return picture


def charcoal(kit: Kit) -> Array:
    """Imitate charcoal and chalk: broad grainy strokes, rubbed soft in places."""
    width, rub = kit.pixels(4, 14), kit.between(1, 4)
    tones = ndtr(smooth_noise(kit, kit.pixels(18, 40)) - 0.3)
    angle = kit.angle()
    strokes = hatch(kit, width, width, kit.pixels(25, 55), angle, tones)
    strokes = strokes + hatch(kit, 2.5 * width, 1.5, 40, angle + kit.between(-1, 1), tones)
    tooth = fractal_noise(kit, kit.pixels(1.5, 4), 1.3)
    smudge = blur(strokes, rub * 2) * kit.between(0.2, 0.7)
    grainy = strokes * smoothstep(-0.6, 0.9, tooth)
    return on_paper(kit, smudge + 0.9 * grainy, 0.15)


def stippling(kit: Kit) -> Array:
    """Imitate pen stippling: fine ink dots, crowded in the shadows."""
    width = kit.pixels(1.3, 4)
    tones = ndtr(kit.between(0.8, 1.6) * smooth_noise(kit, kit.pixels(12, 34)))
    stamps = make_stamps(kit, width, width, disc)
    points = scatter(kit, 0.85 * width, stamps.margin)
    points = points[kit.rng.random(len(points)) ** 1.5 > at(tones, points)]
    kinds, amounts = stamps.at_random(kit.rng, len(points)), kit.rng.uniform(1.5, 4, len(points))
    return on_paper(kit, deposited(kit, stamps.marks, points, kinds, amounts))
