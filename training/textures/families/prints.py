"""Textures of printed pictures: raster, copper, wood and linoleum."""

import numpy as np
from scipy.special import ndtr

from training.textures.arrays import Array
from training.textures.canvas import deposited
from training.textures.directions import eddies, flow
from training.textures.fields import at, coverage, mix, smoothstep, steepness, turned
from training.textures.kit import Kit
from training.textures.noise import fractal_noise, grained, smooth_noise
from training.textures.paper import on_paper, paper_and_ink
from training.textures.places import grid, scatter
from training.textures.stamps import leaf, make_stamps, thorn


def halftone(kit: Kit) -> Array:
    """Imitate newsprint and pop art: rasters of dots or lines in one or two inks, growing with the tone."""
    period, angle, lines = kit.pixels(3.5, 14), kit.angle(), kit.sometimes(0.3)
    paper, ink = paper_and_ink(kit)
    picture = paper
    for colour, turn in [(kit.palette.pick(kit.taste, 1)[0], 0.5), (ink, 0.0)][kit.choose([0, 1]) :]:
        along, across = turned(*grid(kit), angle + turn)
        tone = ndtr(kit.between(0.3, 1) * smooth_noise(kit, 22) + kit.between(-1.2, 0.1))
        if lines:
            distance = np.abs(across - period * np.rint(across / period)) - period / 2 * tone
        else:
            u, v = (c - period * np.rint(c / period) for c in (along, across))
            distance = np.hypot(u, v) - 0.7 * period * np.sqrt(tone)
        picture = mix(picture, colour, 0.9 * coverage(distance))
    return grained(kit, picture, 2, 0.02)


def ruled(period: float, tones: Array, phase: Array) -> Array:
    """Return the distance to the edges of lines, one to a unit of the phase, that swell as tones darken."""
    middle = np.abs(phase - np.rint(phase)) / steepness(phase)
    return middle - 0.5 * (1 - tones) * period


def engraving(kit: Kit) -> Array:
    """Imitate copperplate and banknotes: fine lines that swell with the tone, crossed in the dark."""
    period, bow, angle = kit.pixels(3, 7), kit.between(0, 2), kit.angle()
    tones = 0.25 + 0.65 * ndtr(kit.between(0.8, 1.5) * smooth_noise(kit, kit.pixels(14, 30)))
    phases = [turned(*grid(kit), turn)[1] / period + bow * smooth_noise(kit, 34) for turn in (angle, angle + 1.1)]
    lines = coverage(ruled(period, tones, phases[0]))
    crossed = coverage(ruled(period, np.clip(tones + 0.35, 0, 1), phases[1]))
    return on_paper(kit, 4 * np.maximum(lines, crossed * kit.choose([0, 1])))


def woodcut(kit: Kit) -> Array:
    """Imitate a woodcut: bold lines that swell and end along the forms, torn by the grain of the block."""
    period, angle, hills = kit.pixels(6, 14), kit.angle(), kit.pixels(18, 34)
    form = smooth_noise(kit, hills)
    phase = turned(*grid(kit), angle)[1] / period + kit.between(0.5, 2) * form
    tones = ndtr(kit.between(0.7, 1.4) * smooth_noise(kit, kit.pixels(10, 24)) + kit.between(-0.3, 0.3))
    grain = smooth_noise(kit, 0.8, 12, angle + 0.1) + 0.4 * fractal_noise(kit, 3, 1.3)
    edge = ruled(period, np.clip(1.15 * tones - 0.05, 0, 1), phase) + kit.between(0.1, 0.6) * grain
    worn = smoothstep(1.5, 2.5, grain) * kit.between(0, 0.8)
    return on_paper(kit, 6 * coverage(edge) * (1 - worn))


def linocut(kit: Kit) -> Array:
    """Imitate a linocut: pale gouges, thick to thin, carved out of an inked ground along the form."""
    width, aspect = kit.pixels(2.5, 8), kit.between(3, 7)
    scale = kit.pixels(20, 36)
    directions = eddies(kit, scale) if kit.sometimes(0.5) else flow(kit, scale, kit.between(0.3, 1))
    stamps = make_stamps(kit, width * aspect, width, kit.choose([leaf, thorn]), bend=0.1)
    points = scatter(kit, width * kit.between(0.9, 1.4), stamps.margin, 0.6 * aspect, jitter=0.8)
    points = points[at(smooth_noise(kit, 20), points) > kit.between(-2, -0.3)]
    kinds = stamps.facing(kit.rng, at(directions, points))
    carved = np.clip(deposited(kit, stamps.marks, points, kinds, np.ones(len(points))), 0, 1)
    speckle = smoothstep(1.6, 2.2, fractal_noise(kit, 2, 0.8)) * kit.between(0, 0.6)
    return on_paper(kit, 6 * (1 - carved) * (1 - speckle))
