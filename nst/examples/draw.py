"""Draw the example pictures: a harbour to restyle, and three styles to restyle it with.

Everything comes from formulas and a fixed seed, so the pictures are ours to give away and
`python -m nst.examples.draw [FOLDER]` makes the same ones each time.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFilter

Array = NDArray[np.float64]
Rng = np.random.Generator
BICUBIC, LANCZOS = Image.Resampling.BICUBIC, Image.Resampling.LANCZOS


def ramp(colours: str, at: Array | float) -> Array:
    """Colours at positions 0..1 along a row of evenly spaced colours."""
    stops = np.array([ImageColor.getrgb(colour)[:3] for colour in colours.split()]) / 255
    places = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(at, places, stops[:, i]) for i in range(3)], axis=-1)


def smoothstep(low: float, high: float, x: Array) -> Array:
    """0 below `low`, 1 above `high`, and a smooth rise between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def noise(rng: Rng, height: int, width: int, cell: float, stretch: float = 1) -> Array:
    """Cloudy noise in 0..1 with features of `cell` pixels and finer, `stretch` times as wide."""
    total = np.zeros((height, width))
    for octave in range(5):
        step = max(cell / 2**octave, 1)
        grid = rng.random((int(height / step) + 3, int(width / step / stretch) + 3))
        fine = Image.fromarray(grid.astype(np.float32)).resize((width, height), BICUBIC)
        total += 0.5**octave * np.asarray(fine)
    low, high = np.percentile(total, [1, 99])
    return np.asarray(np.clip((total - low) / (high - low), 0, 1))


def to_image(pixels: Array, shrink: int = 1) -> Image.Image:
    """Pixels in 0..1 as an image, made `shrink` times smaller."""
    image = Image.fromarray((np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8))
    return image.resize((image.width // shrink, image.height // shrink), LANCZOS)


# Harbour. Each thing is a few shapes, one a line: colour and settings, then corners "x,y" from
# the thing's foot. "~x,y" pulls the side between its neighbours into a curve; ";" starts again.

WIDE, HIGH, HORIZON, SCALE = 640, 480, 268, 3  # SCALE: shapes are cut hard, then shrunk smooth.
# Shade is #2b3352: it is lit by the sky, so it leans to blue instead of black.
WINDOW = """
{door} grain=.2 | -4,0 10,0 10,10 -4,10
#f4ecdd | -.8,-.8 6.8,-.8 6.8,11.4 -.8,11.4
#3a4c63 down=-.5 across=.3 | 0,0 6,0 6,10 0,10
#f4ecdd pen=.8 | 3,0 3,10 ; 0,4.5 6,4.5
"""
HOUSE = """
{wall} | 40,0 62,-2 62,-42 40,-40
#2b3352 opacity=.42 | 40,0 62,-2 62,-42 40,-40
{wall} across=.12 down=.15 | 0,0 0,-40 20,-58 40,-40 40,0
{roof} across=.15 down=-.25 grain=.35 | 20,-60 42,-63 65,-39 43,-37
#2b3352 opacity=.25 pen=1 | 24,-56 46,-58 ; 29,-51 51,-53 ; 34,-46 56,-48 ; 39,-41 60,-43
#2b3352 opacity=.3 | 0,-39 20,-57 40,-39 40,-33 20,-51 0,-33
{roof} pen=3 | -3,-37 20,-60 43,-37
#b98a70 across=.6 | 31,-68 37,-68 37,-55 31,-54
#8a6353 | 30,-69.5 38,-69.5 38,-67 30,-67
#56545c | 48,-33 53,-33.5 53,-23.5 48,-23
{door} down=.3 | 16,0 16,-15 24,-15 24,0
"""
CHURCH = """
#efe2c9 across=.1 | 0,0 0,-82 24,-82 24,0
#2b3352 opacity=.35 | 16,0 16,-82 24,-82 24,0
#6f8f93 | -3,-82 12,-140 14,-82
#4a6674 | 12,-140 27,-82 14,-82
#fbf2df across=.3 | -2,-84 26,-84 26,-81 -2,-81
#37445c | 5,-54 5,-60 ~9,-76 13,-60 13,-54
#d9a441 pen=1.4 | 12,-152 12,-138 ; 8,-147 16,-147
"""
LIGHTHOUSE = """
#f9f1e2 across=.3 | -15,0 ~0,4 15,0 9,-130 -9,-130
#cb4330 across=.3 | -13.8,-26 ~0,-22 13.8,-26 12.6,-52 ~0,-48 -12.6,-52
#cb4330 across=.3 | -11.4,-78 ~0,-74 11.4,-78 10.2,-104 ~0,-100 -10.2,-104
#2b3352 opacity=.2 | 0,2 15,0 9,-130 1,-130 ; 5,2 15,0 9,-130 4,-130 ; 10,1 15,0 9,-130 6,-130
#33415a | -5,-60 -5,-69 0,-69 0,-60
#39434f across=.4 | -13,-129 -13,-133 13,-133 13,-129
#ffe9a6 across=.25 | -7,-133 -7,-149 7,-149 7,-133
#39434f pen=1.3 | -2.5,-133 -2.5,-149 ; 2.5,-133 2.5,-149 ; 0,-160 0,-168
#b53a2c across=.7 | -9,-149 ~0,-174 9,-149
"""
SAILING_BOAT = """
#6b4a33 pen=2.4 | 0,-14 0,-196
#fbf3e2 across=.28 down=.1 grain=.05 | 3,-192 ~50,-110 64,-28 ~30,-20 3,-24
#d8573a across=-.35 down=.1 grain=.05 | -3,-176 ~-26,-90 -62,-22 ~-24,-34 -8,-26
#cdbfa8 pen=.7 | 3,-150 27,-151 ; 3,-108 44,-110 ; 3,-66 56,-69
#6b4a33 pen=2.2 | 0,-22 68,-25
#c89a63 down=.3 | -18,-12 -14,-22 26,-22 30,-12
#24456b down=.4 across=.2 | -70,-22 ~0,-10 74,-18 66,0 ~0,5 -46,0
#a63a2c across=.2 | -51,-4 ~0,2 68,-4 65,0 ~0,5 -46,0
#f4e9d4 pen=3 | -70,-22 ~0,-10 74,-18
#e3b23c | 0,-196 16,-192 0,-187
"""
ROWING_BOAT = """
#5d4032 down=-.6 | -58,-22 ~0,-6 56,-20 ~0,-27 -58,-22
#c99f6c | -24,-22 -12,-23 -8,-14 -20,-15 ; 10,-22 20,-22 24,-15 12,-14
#2f8076 across=.3 down=.5 | -58,-22 ~0,-6 56,-20 46,0 ~0,6 -44,0
#f2e3c4 pen=3 | -58,-22 ~0,-6 56,-20
"""
LEAF = "{} across=.2 down=.3 | -1,0 ~-1,-1 0,-1 ~1,-1 1,0 ~1,1 0,1 ~-1,1 -1,0"


def corners(path: str) -> Array:
    """The corners that a path names, with each curve as many short sides."""
    named = [np.array([float(v) for v in word.strip("~").split(",")]) for word in path.split()]
    points: list[Array] = []
    for i, word in enumerate(path.split()):
        if word.startswith("~"):
            t = np.linspace(0, 1, 24)[1:-1, None]
            ends = (1 - t) ** 2 * named[i - 1] + t**2 * named[i + 1]
            points += list(ends + 2 * t * (1 - t) * named[i])
        else:
            points.append(named[i])
    return np.array(points)


class Sheet:
    """A see-through sheet with things on it, so that the water can mirror them."""

    def __init__(self, grain: Array) -> None:
        self.colour, self.alpha, self.grain = np.zeros((*grain.shape, 3)), 0 * grain, grain

    def shape(self, points: Array, colour: str, **settings: float) -> None:
        """Fill a shape, or with a `pen` draw its outline that wide.

        `across` and `down` say how much darker it gets towards its right and its foot.
        """
        look = {"across": 0.0, "down": 0.0, "grain": 0.12, "opacity": 1.0, "pen": 0.0} | settings
        across, down, grain, opacity, pen = look.values()
        points, limit = points * SCALE, (WIDE * SCALE, HIGH * SCALE)
        x0, y0 = np.clip(points.min(axis=0) - pen * SCALE, 0, limit).astype(int).tolist()
        x1, y1 = np.clip(points.max(axis=0) + pen * SCALE + 1, 0, limit).astype(int).tolist()
        stencil = Image.new("L", (max(x1 - x0, 1), max(y1 - y0, 1)))
        outline = (points - (x0, y0)).ravel().tolist()
        if pen:
            ImageDraw.Draw(stencil).line(outline, 255, round(pen * SCALE), "curve")
        else:
            ImageDraw.Draw(stencil).polygon(outline, 255)
        cover = np.asarray(stencil)[: y1 - y0, : x1 - x0] / 255 * opacity
        u, v = np.linspace(-0.5, 0.5, x1 - x0), np.linspace(-0.5, 0.5, y1 - y0)[:, None]
        box = np.s_[y0:y1, x0:x1]
        light = 1 - across * u - down * v + grain * (self.grain[box] - 0.5)
        paint = ramp(colour, 0) * light[..., None]
        self.colour[box] += (paint - self.colour[box]) * cover[..., None]
        self.alpha[box] = np.maximum(self.alpha[box], cover)

    def draw(self, shapes: str, x: float, y: float, w: float = 1, h: float = 1) -> None:
        """Draw a list of shapes with its foot at (x, y), stretched by (w, h)."""
        for line in shapes.strip().splitlines():
            colour, *words = line.split("|")[0].split()
            pairs = [word.split("=") for word in words]
            for path in line.split("|")[1].split(";"):
                points = corners(path) * (w, h) + (x, y)
                self.shape(points, colour, **{name: float(number) for name, number in pairs})

    def house(self, x: float, y: float, w: float, h: float, colours: str) -> None:
        """A house with its gable to us, in the light, and a long side in the shade."""
        wall, roof, door = colours.split()
        self.draw(HOUSE.format(wall=wall, roof=roof, door=door), x, y, w, h)
        for across, up in [(7, 33), (27, 33), (6, 14), (29, 14)]:
            self.draw(WINDOW.format(door=door), x + across * w, y - up * h, w * 0.9, h * 0.9)

    def tree(self, rng: Rng, x: float, y: float, size: float) -> None:
        """A round tree: dark leaves first, then lit ones up and to the left."""
        greens = ["#2c4a38", "#37593c", "#4a7042", "#66894a", "#8aa657"]
        for t in np.linspace(0, 0.999, 70).tolist():
            angle, reach = rng.uniform(0, 2 * np.pi), size * rng.random() ** 0.5 * (1 - t / 3)
            across, down = reach * np.cos(angle), reach * np.sin(angle)
            lift, leaf = size * t / 3, size * rng.uniform(0.14, 0.26)
            shape = LEAF.format(greens[int(t * 5)])
            self.draw(shape, x + across - lift, y + down - lift, leaf, leaf)


def sky(rng: Rng) -> Array:
    """Evening air with clouds that are bright where they thin out towards the sun."""
    rows, columns, shift = HORIZON * SCALE, WIDE * SCALE, 12 * SCALE
    height = np.linspace(1, 0, rows)[:, None]
    air = ramp("#fbe0b8 #f3dfca #c3d7e0 #8dbadb #659bcd #4b83be", height + np.zeros(columns))
    puffs = noise(rng, rows + shift, columns + shift, 75 * SCALE, 2)
    here, sunwards = puffs[shift:, shift:], puffs[:-shift, :-shift]
    cloud = ramp("#a9b4ca #d3d2da #f8ecdd #fffbf2", 0.55 + 1.4 * (here - sunwards))
    thick = smoothstep(0.5, 0.82, here) * smoothstep(0.02, 0.3, height)
    return air + (cloud - air) * (0.94 * thick)[..., None]


def hills(sheet: Sheet, rng: Rng) -> None:
    """Two ranges far off, with haze that gathers at their feet."""
    x = np.append(np.arange(WIDE + 1.0), [WIDE, 0])
    for rise, colour, haze in [(66, "#86a3c2", "#c3cdd0"), (36, "#6a909f", "#a9bfba")]:
        ridge = HORIZON - 8 - rise * noise(rng, 4, WIDE + 1, 130)[0]
        y = np.append(ridge, [HORIZON, HORIZON])
        sheet.shape(np.stack([x, y], axis=-1), colour)
        for sink in np.linspace(0, rise, 14):
            foot = np.minimum(y + sink, HORIZON)
            sheet.shape(np.stack([x, foot], axis=-1), haze, opacity=0.08)


def headland(sheet: Sheet, rng: Rng) -> None:
    """Rocks and turf with the lighthouse on them."""
    crest = corners("418,292 ~455,262 498,244 ~570,222 640,232")
    sheet.shape(np.append(crest, [[640, 292]], axis=0), "#9a8a78", down=0.5, grain=0.7)
    for _ in range(260):  # Facets of rock, each turned to the light or away from it.
        x, size = rng.uniform(424, 634), rng.uniform(4, 10)
        crown = np.interp(x, crest[:, 0], crest[:, 1]) + size
        rock = rng.choice(["#cdb99b", "#b29f87", "#75695f", "#5d5656"])
        facet = f"{rock} opacity=.5 | 0,-1 .8,-.2 .5,.5 -.5,0"
        sheet.draw(facet, x, rng.uniform(min(crown, 286), 287), size, size)
    turf = corners("640,250 590,243 545,250 500,256 460,270 418,292")
    sheet.shape(np.append(crest, turf, axis=0), "#7d9a4e", down=0.4, grain=0.6)
    sheet.house(584, 247, 0.72, 0.6, "#f6ecd9 #a4493a #3f6f73")
    sheet.draw(LIGHTHOUSE, 546, 246)
    for x, y, size in [(572, 244, 7), (638, 236, 13), (520, 249, 5)]:
        sheet.tree(rng, x, y, size)


def village(sheet: Sheet, rng: Rng) -> None:
    """Houses and a church on a green slope behind a stone quay."""
    meadow = "#75934f across=.25 down=.3 grain=.5 | 0,158 ~120,160 215,226 ~290,266 352,296 0,300"
    sheet.draw(meadow, 0, 0)
    for x, y, size in [(20, 168, 15), (44, 164, 12), (98, 174, 13), (216, 232, 13), (238, 243, 11)]:
        sheet.tree(rng, x, y, size)
    sheet.draw(CHURCH, 128, 234)
    for x, y, w, h, colours in [
        (-14, 236, 1.05, 0.9, "#e8cf9f #a4493a #4b6a8c"),
        (62, 238, 1.0, 0.85, "#f1e6d2 #b5533c #3f6f73"),
        (164, 252, 0.9, 0.75, "#dca987 #8c4a40 #f0e2c8"),
        (210, 290, 1.0, 1.0, "#f3e7d3 #b5533c #3f6f73"),
        (138, 292, 1.15, 1.15, "#d98f6b #8c4a40 #7b4a3e"),
        (72, 292, 1.1, 1.0, "#f2d694 #a4493a #4b6a8c"),
        (0, 292, 1.2, 1.2, "#a9c3c9 #b5533c #a4493a"),
    ]:
        sheet.house(x, y, w, h, colours)
        sheet.tree(rng, x + 70 * w, y - 8, rng.uniform(8, 12))
    sheet.tree(rng, 304, 284, 9)
    sheet.draw("#d8c7a6 | 0,289 352,289 352,295 0,295", 0, 0)
    sheet.draw("#94876f down=.5 grain=.6 | 0,294 352,294 352,308 0,308", 0, 0)
    for _ in range(150):
        stone = f"{rng.choice(['#a89a80', '#7b705f'])} opacity=.6 | 0,0 7,0 7,3 0,3"
        course = 296 + 4 * int(rng.integers(3))
        sheet.draw(stone, rng.uniform(0, 344), course, rng.uniform(0.6, 1.2))


def ripples(rng: Rng, below: Array) -> Array:
    """Waves in -1..1 on the water, smaller and closer the nearer they are to the horizon."""
    texture = noise(rng, 1600, 4000, 30, 7)
    far = 1 / (below + 0.22)
    across = (np.arange(WIDE * SCALE) - WIDE * SCALE / 2) * far[:, None] * 0.4 + 2000
    along = ((far - far.min()) / np.ptp(far) * 1599)[:, None]
    return np.asarray(texture[along.astype(int), across.astype(int)] * 2 - 1)


def float_on(picture: Array, sheet: Sheet, waterline: int, wave: Array) -> None:
    """Put a sheet into the picture, and its broken mirror image into the water below it."""
    top = waterline * SCALE
    y, x = np.mgrid[top : HIGH * SCALE, 0 : WIDE * SCALE]
    depth, wave = y - top, wave[top - HORIZON * SCALE :]
    row = np.clip(top - depth + wave * (5 + 0.07 * depth), 0, HIGH * SCALE - 1).astype(int)
    column = np.clip(x + wave * (4 + 0.03 * depth), 0, WIDE * SCALE - 1).astype(int)
    strength = sheet.alpha[row, column] * (0.74 - 0.4 * smoothstep(0, 170 * SCALE, depth))
    mirrored = sheet.colour[row, column] * 0.82 + ramp("#2d5a66", 0) * 0.12
    picture[top:] += (mirrored - picture[top:]) * strength[..., None]
    picture += (sheet.colour - picture) * sheet.alpha[..., None]


def harbour(rng: Rng) -> Image.Image:
    """The content: a small harbour in evening light."""
    grain = noise(rng, HIGH * SCALE, WIDE * SCALE, 14)
    below = np.linspace(0, 1, (HIGH - HORIZON) * SCALE)
    wave = ripples(rng, below)
    water = ramp("#f0dcbe #b3cacb #76abb8 #4f8ba0 #38738b #2b5d78", below**0.75)[:, None]
    glint = smoothstep(0.35, 1, wave)[..., None] * ramp("#ffe6bd", 0) * 0.22
    picture = np.concatenate([sky(rng), water * (1 + 0.14 * wave[..., None]) + glint])
    sheets = [(level, Sheet(grain)) for level in (HORIZON, 291, 307, 366, 436)]
    hills(sheets[0][1], rng)
    headland(sheets[1][1], rng)
    village(sheets[2][1], rng)
    sheets[3][1].draw(SAILING_BOAT, 392, 366)
    sheets[4][1].draw(ROWING_BOAT, 190, 436)
    for level, sheet in sheets:
        float_on(picture, sheet, level, wave)
    image = to_image(picture, SCALE)
    return Image.blend(image, image.filter(ImageFilter.GaussianBlur(3)), 0.12)


def flow(height: int, width: int) -> tuple[Array, Array]:
    """A flow's stream function, whose level lines strokes follow, and the glow of its eyes."""
    y, x = np.mgrid[0:height, 0:width] / width
    level = 3.2 * y + 0.24 * np.sin(5.5 * x + 0.6) + 0.16 * np.sin(11 * x + 7 * y)
    glow = np.zeros_like(level)
    eyes = "70,25,17 26,42,-20 60,62,15 10,12,9 91,55,-10 40,12,-8 11,63,11 90,8,-8"
    for eye in eyes.split():
        across, down, size = (float(number) / 100 for number in eye.split(","))
        far = np.hypot(x - across, y - down) / abs(size)
        level += 7.5 * size * np.exp(-(far**2))
        glow += np.exp(-((far / 0.66) ** 2)) * (0.85 + 0.2 * np.cos(9 * far))
    return level, glow


def trace(level: Array, points: Array, length: int) -> Array:
    """Walk along the flow a pixel at a time: places as (step, stroke, x or y)."""
    down, across = np.gradient(level)
    steps = np.stack([down, -across], axis=-1) / (np.hypot(down, across) + 1e-9)[..., None]
    walk = [points]
    for _ in range(length):
        x, y = np.clip(walk[-1], 0, (level.shape[1] - 1, level.shape[0] - 1)).astype(int).T
        walk.append(walk[-1] + steps[y, x])
    return np.array(walk)[:: length // 10]


def swirls(rng: Rng) -> Image.Image:
    """A style: thick brush strokes that follow a swirling flow."""
    height, width = 1024, 1280
    level, glow = flow(height, width)
    tone = 0.42 * (0.5 + 0.5 * np.sin(level * 9)) ** 1.3 + 0.8 * glow - 0.06
    colours = "#0e1b45 #16357e #2360b4 #3f8fcb #86c3c8 #e3e0a0 #f8d24a #f4b41f #e8851b"
    paint, relief = to_image(ramp(colours, tone)), Image.new("L", (width, height), 128)
    brush, press = ImageDraw.Draw(paint), ImageDraw.Draw(relief)
    for length, wide, count in [(140, 36, 1300), (100, 24, 2200), (70, 15, 2200), (40, 9, 1500)]:
        start = rng.uniform(-0.06, 1.02, (count, 2)) * (width, height)
        walks = trace(level, start, length)
        ahead = np.gradient(walks, axis=0)
        aside = np.stack([-ahead[..., 1], ahead[..., 0]], axis=-1)
        aside /= np.linalg.norm(aside, axis=-1, keepdims=True) + 1e-9
        for i in range(count):
            x, y = np.clip(walks[5, i], 0, (width - 1, height - 1)).astype(int)
            colour = ramp(colours, tone[y, x] + rng.normal(0, 0.055)) + rng.normal(0, 0.025, 3)
            for side in np.arange(-wide / 2, wide / 2, 3):  # One line for each hair of the brush.
                first, last = rng.integers(0, 3), 11 - rng.integers(0, 3)
                path = (walks[first:last, i] + aside[first:last, i] * side).ravel().tolist()
                r, g, b = np.clip(colour * rng.uniform(225, 285), 0, 255).astype(int).tolist()
                brush.line(path, (r, g, b), 4, "curve")
                press.line(path, int(rng.integers(60, 200)), 4, "curve")
    thick = np.asarray(relief.filter(ImageFilter.GaussianBlur(1.6))) / 255
    slope = (thick - np.roll(thick, (-3, -3), (0, 1)))[..., None]  # Lit from the upper left.
    return to_image(np.asarray(paint) / 255 * (1 - 0.7 * slope) - 0.1 * slope, 2)


RADIUS = 128


def fan(rng: Rng, x: Array, y: Array, blot: Array, paper: Array) -> Array:
    """One fan of inked arcs about (0, 0), as colour and cover in four channels."""
    far, angle = np.hypot(x, y) + 3 * (blot - 0.5), np.arctan2(y, x)
    for bumps in (2, 3, 5):  # A hand-held brush does not go round in perfect circles.
        far += rng.normal(0, 0.9) * np.cos(bumps * angle + rng.uniform(0, 6))
    lines = np.zeros_like(far)
    for edge, thick in zip([128, 106, 81, 58, 37, 18], [10, 14, 11, 10, 8, 20], strict=True):
        middle, half = edge - thick / 2 + rng.normal(0, 0.9), thick / 2 * rng.uniform(0.85, 1.15)
        lines += smoothstep(half + 1.2, half - 1.2, abs(far - middle))
    load = rng.normal(0.55, 0.2) + 0.6 * (blot - 0.5) - 0.25 * y / RADIUS
    ink = ramp("#5b86b8 #2f5c98 #1f3f7c #142a58", load)
    shade = rng.uniform(0.03, 0.3) * smoothstep(0.2, 1, far / RADIUS)[..., None]
    wash = paper * (1 - shade * (1 - ramp("#7fa9cf", 0)))
    colour = wash + (ink - wash) * lines[..., None]
    return np.dstack([colour, smoothstep(RADIUS + 4, RADIUS + 2, far)])


def waves(rng: Rng) -> Image.Image:
    """A style: seigaiha, rows of overlapping fans in indigo ink."""
    height, width = 1024, 1280
    picture = ramp("#eddfc0 #f6ead0 #faf1dc", noise(rng, height, width, 60))
    paper, blot = picture.copy(), noise(rng, height, width, 24)
    y, x = np.mgrid[0:height, 0:width].astype(float)
    for row in range(2 * height // RADIUS + 3):  # Upper rows first: lower ones lie over them.
        for column in range(width // RADIUS // 2 + 2):
            across = (2 * column - row % 2) * RADIUS + rng.normal(0, 2)
            down = row * RADIUS / 2 + rng.normal(0, 2)
            x0, x1, y0, y1 = (max(int(m + r), 0) for m in (across, down) for r in (-140, 140))
            box = np.s_[y0:y1, x0:x1]
            drawn = fan(rng, x[box] - across, y[box] - down, blot[box], paper[box])
            picture[box] += (drawn[..., :3] - picture[box]) * drawn[..., 3:]
    fibre = noise(rng, height, width, 4, 6)[..., None]
    return to_image(picture + (paper - picture) * 0.3 * smoothstep(0.6, 1, fibre), 2)


def sun_colour(rng: Rng, angle: float, far: float) -> Array:
    """The colour of a stone: a sun with twelve rays, in rings of sea."""
    warm = "#fff0a8 #fcd34c #f6a821 #ec7a1c #d9481f #a82624"
    cool = "#a8e8da #4cc8c0 #1a9ea8 #117c93 #145a80 #17386a"
    ray = abs((angle * 12 / (2 * np.pi) + 0.5) % 1 - 0.5) * 2  # 0 along a ray, 1 between two.
    if far < 0.18:
        row, place = warm, 3.4 * far
    elif far < 0.2:
        row, place = warm, 0.93
    elif far < 0.375 and ray < 0.99 - 0.95 * (far - 0.2) / 0.175:
        row, place = warm, 0.12 + 4.4 * (far - 0.2)
    elif far < 0.375:
        row, place = cool, 0.95 - 3.2 * (far - 0.2)
    elif far < 0.425 or 0.605 < far < 0.64:
        row, place = warm, 0.15 if far < 0.4 else 0.45
    else:
        row, place = cool, 0.42 - 0.4 * np.cos((far - 0.425) * 2 * np.pi / 0.09)
    return ramp(row, place + rng.normal(0, 0.07)) * rng.uniform(0.88, 1.1)


def stones(rng: Rng, size: int, step: float) -> tuple[Array, Array]:
    """Middles and colours of stones laid in rings, so many that the twelve rays come out alike."""
    middles, colours = [np.zeros(2)], [ramp("#fff0a8", 0)]
    for ring in range(1, int(0.75 * size / step)):
        count = 6 * ring if ring < 3 else 12 * round(ring * 6 / 12)
        for angle in (np.arange(count) + ring % 2 / 2) * 2 * np.pi / count:
            middle = np.array([np.cos(angle), np.sin(angle)]) * ring * step
            middles.append(middle + rng.normal(0, 0.1 * step, 2))
            colours.append(sun_colour(rng, angle, ring * step / size))
    return np.array(middles) + size / 2, np.array(colours)


def mosaic(rng: Rng) -> Image.Image:
    """A style: uneven glass stones in grout."""
    size, tile, step = 640, 40, 12.8
    middles, colours = stones(rng, size, step)
    tilt = rng.normal(0, 0.02, middles.shape)
    picture, depth = np.zeros((size, size, 3)), np.zeros((size, size))
    for top, left in np.ndindex(size // tile, size // tile):  # Each pixel has few stones near it.
        box = np.s_[top * tile : (top + 1) * tile, left * tile : (left + 1) * tile]
        pixels = np.mgrid[box].transpose(1, 2, 0)[..., ::-1].astype(float)
        near = np.abs(middles - pixels.mean(axis=(0, 1))).max(axis=1) < tile / 2 + 3.5 * step
        squared = ((pixels[:, :, None] - middles[near]) ** 2).sum(axis=-1)
        own = np.flatnonzero(near)[squared.argmin(axis=-1)]
        apart = np.linalg.norm(middles[own][:, :, None] - middles[near], axis=-1)
        edge = (squared - squared.min(axis=-1, keepdims=True)) / (2 * apart + 1e-9)
        # A soft minimum over the neighbours' edges rounds the corners of each stone.
        depth[box] = -0.8 * np.log(np.exp(-np.where(apart > 0, edge, 99) / 0.8).sum(axis=-1))
        lean = ((pixels - middles[own]) * tilt[own]).sum(axis=-1, keepdims=True)
        picture[box] = colours[own] * (1 + lean)
    height = smoothstep(0.6, 3, depth)
    slope = (height - np.roll(height, (1, 1), (0, 1)))[..., None]
    stone = picture * (0.93 + 0.14 * noise(rng, size, size, 7)[..., None] + 0.36 * slope)
    grout = ramp("#4a423c #6f6458", noise(rng, size, size, 4))
    return to_image(grout + (stone - grout) * smoothstep(0.5, 1.5, depth)[..., None])


def main(folder: Path) -> None:
    """Draw all four into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for draw in (harbour, swirls, waves, mosaic):
        # JPEG, because with grain and brush marks PNG comes out several times larger.
        path = folder / f"{draw.__name__}.jpg"
        draw(np.random.Generator(np.random.PCG64(7))).save(path, quality=90, optimize=True)
        print(f"{path}: {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
