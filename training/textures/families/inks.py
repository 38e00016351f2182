"""Textures of ink and paint that is flung, trailed or afloat."""

import math

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.special import ndtr

from training.textures.arrays import Array
from training.textures.canvas import bare, painted
from training.textures.fields import at, blur, mix, steepness, turned
from training.textures.kit import TURN, Kit
from training.textures.noise import fractal_noise, grained, smooth_noise
from training.textures.paper import paper_and_ink
from training.textures.places import grid, scatter
from training.textures.stamps import disc, make_stamps


def splatter(kit: Kit) -> Array:
    """Imitate flung ink: a few blots, many drops, countless specks, in one or several colours."""
    paper, ink = paper_and_ink(kit)
    largest, crowd = kit.pixels(6, 24), kit.between(0.3, 0.9)
    colours = np.array([ink]) if kit.sometimes(0.4) else kit.palette.pick(kit.taste, 3, 0.03)
    canvas = bare(kit, grained(kit, paper, 3, 0.02))
    for share, drawn_out in ((1, 1.1), (0.6, 1.2), (0.35, 1.5), (0.2, 1.3), (0.12, 1), (0.08, 1)):
        size = max(largest * share, 1.4)
        stamps = make_stamps(kit, size * drawn_out, size, disc, ragged=0.3, bend=0.2)
        points = scatter(kit, size * 2 / crowd, stamps.margin)
        points = points[at(fractal_noise(kit, 16, 1.5), points) > kit.between(-0.4, 0.8)]
        tints = colours[kit.rng.integers(len(colours), size=len(points))]
        canvas = painted(canvas, stamps, points, stamps.at_random(kit.rng, len(points)), tints)
    return canvas[..., :3]


def wandering(kit: Kit, spacing: float, length: int, step: float, unrest: float, curl: float) -> Array:
    """Return curves (n, points, 2) that start all over the image and turn at random."""
    starts = scatter(kit, spacing, length * step / 3)
    turns = kit.rng.standard_normal((len(starts), length)) * unrest
    turns = ndimage.gaussian_filter1d(turns, 3, axis=1) + curl
    heading = kit.rng.uniform(0, TURN, (len(starts), 1)) + np.cumsum(turns, axis=1)
    return starts[:, None] + step * np.cumsum(np.stack([np.sin(heading), np.cos(heading)], axis=-1), axis=1)


def trailed(kit: Kit, picture: Array, curves: Array, radii: Array, colours: Array) -> Array:
    """Return the picture with curves drawn over it by a round nib of changing radius."""
    fine = 3
    sheet = Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8)).resize((kit.size * fine,) * 2)
    draw = ImageDraw.Draw(sheet)
    for curve, radius, colour in zip(curves, radii, (colours * 255).astype(int).tolist(), strict=True):
        boxes = np.stack([curve - radius[:, None], curve + radius[:, None]], axis=1)[..., ::-1].reshape(-1, 4) * fine
        inside = (boxes[:, 2:].min(axis=1) > 0) & (boxes[:, :2].max(axis=1) < kit.size * fine)
        for box in boxes[inside].tolist():
            draw.ellipse(box, fill=tuple(colour))
    return np.asarray(sheet.resize((kit.size,) * 2, Image.Resampling.BOX), np.float32) / 255


def drips(kit: Kit) -> Array:
    """Imitate Pollock: a tangle of long loops of flung paint, thick and thin, layer over layer, with drops."""
    spacing, thick = kit.pixels(13, 32), kit.pixels(0.6, 1.6)
    picture = grained(kit, kit.palette.table[kit.choose([20, 128, 235])], 4, 0.04)
    curves = wandering(kit, spacing, 110, 1.3, kit.between(0.1, 0.45), kit.between(-0.05, 0.05))
    swell = ndimage.gaussian_filter1d(kit.rng.standard_normal(curves.shape[:2]), 6, axis=1)
    radii = thick * np.exp(2.5 * swell + 0.4 * kit.rng.standard_normal((len(curves), 1)))
    return trailed(kit, picture, curves, radii, kit.palette.pick(kit.rng, len(curves), 0.03))


def scribble(kit: Kit) -> Array:
    """Imitate ballpoint scribbles: long curls of an even line, in one ink or several."""
    paper, ink = paper_and_ink(kit)
    picture = np.broadcast_to(paper, (kit.size, kit.size, 3))
    curves = wandering(kit, kit.pixels(14, 36), 200, 0.8, kit.between(0.05, 0.5), kit.pixels(0.04, 0.16))
    radii = np.full(curves.shape[:2], kit.between(0.4, 1.1))
    inks = kit.palette.pick(kit.rng, len(curves)) if kit.sometimes(0.3) else np.tile(ink, (len(curves), 1))
    return trailed(kit, picture, curves, radii, inks)


def marbling(kit: Kit) -> Array:
    """Imitate marbled endpapers: colours afloat in bands, drawn through with combs into feathers and whorls."""
    scale, bands, combed = kit.pixels(10, 26), int(kit.between(5, 16)), kit.angle()
    y, x = grid(kit, kit.between(1, 4), 14)
    for turn in (0.0, TURN / 4, 0.4)[: kit.choose([1, 2, 3])]:
        period, pull = kit.pixels(9, 40), kit.between(0.4, 1)
        _, across = turned(y, x, combed + turn)
        shift = pull * period * np.abs(np.sin(math.pi * across / period + 0.4 * smooth_noise(kit, 30)))
        y, x = y + shift * math.sin(combed + turn), x + shift * math.cos(combed + turn)
    field = fractal_noise(kit, scale, 4, 1.8, combed + TURN / 4)
    place = bands * ndtr(ndimage.map_coordinates(field, [y, x], order=1, mode="grid-wrap"))
    colours = kit.palette.pick(kit.taste, bands + 2, 0.03)
    colours[::4], colours[2::4] = kit.palette.table[245], kit.palette.table[10]
    step = place.astype(int)
    soft = np.clip((place - step - 1) / steepness(blur(place, 0.7)) + 1, 0, 1)
    return mix(colours[step], colours[step + 1], soft)
