"""Palettes: a few colours in harmony, drawn in OKLab and shown in sRGB."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.random import Generator

from training.textures.arrays import Array

LAB_TO_CONES = np.array(
    [[1.0, 0.3963377774, 0.2158037573], [1.0, -0.1055613458, -0.0638541728], [1.0, -0.0894841775, -1.2914855480]]
)


CONES_TO_LINEAR = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)
"""OKLab to linear sRGB (Ottosson, "A perceptual color space for image processing", 2020)."""


HARMONIES: Mapping[str, tuple[float, ...]] = {
    "one hue": (0,),
    "neighbours": (-30, 0, 30),
    "complement": (0, 180),
    "warm and cold": (0, 20, 190, 210),
    "split": (0, 150, 210),
    "triad": (0, 120, 240),
    "any": (0, 60, 120, 180, 240, 300),
}
"""Hues that go together, in degrees from the first."""


def rgb_from_lab(lab: Array) -> Array:
    """Return OKLab colours as sRGB in [0, 1], each with as much of its chroma as the gamut holds."""
    shares = np.linspace(1, 0, 17)[:, None] * (0, 1, 1) + (1, 0, 0)
    linear = (lab[..., None, :] * shares @ LAB_TO_CONES.T) ** 3 @ CONES_TO_LINEAR.T
    fits = ((linear >= -0.002) & (linear <= 1.002)).all(axis=-1)
    linear = np.take_along_axis(linear, fits.argmax(axis=-1)[..., None, None], axis=-2)[..., 0, :].clip(0, 1)
    coded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return coded.astype(np.float32)


@dataclass(frozen=True)
class Palette:
    """A few OKLab colours from dark to light, and each one's share of the picture."""

    lab: Array
    shares: Array

    @cached_property
    def table(self) -> Array:
        """The ramp from dark to light in 256 steps of sRGB; a colour's stretch is as long as its share."""
        middles = np.cumsum(self.shares) - self.shares / 2
        middles = (middles - middles[0]) / (middles[-1] - middles[0])
        steps = np.linspace(0, 1, 256)
        return rgb_from_lab(np.stack([np.interp(steps, middles, channel) for channel in self.lab.T], axis=1))

    def ramp(self, tone: Array) -> Array:
        """Colour a field of [0, 1] from dark to light."""
        picture: Array = self.table[np.clip(tone * 255, 0, 255).astype(np.uint8)]
        return picture

    def pick(self, rng: Generator, count: int, spread: float = 0.02) -> Array:
        """Draw sRGB colours by their shares, each deviating a little."""
        chosen = self.lab[rng.choice(len(self.lab), count, p=self.shares)]
        return rgb_from_lab(chosen + spread * rng.standard_normal((count, 3)) * (2, 1, 1))

    def near(self, rng: Generator, tones: Array, spread: float = 0.02) -> Array:
        """Return the ramp's sRGB colours at `tones`, each deviating a little."""
        deviations = spread * rng.standard_normal((len(tones), 3)) * (2.5, 1.5, 1.5)
        return np.clip(self.ramp(tones) + deviations, 0, 1).astype(np.float32)

    def moved(self, lightness: float, index: int = 0, chroma: float = 1) -> Array:
        """Return one of the colours in sRGB at another lightness, with a share of its chroma."""
        return rgb_from_lab(np.concatenate([[lightness], chroma * self.lab[index, 1:]]))


def sample_palette(rng: Generator) -> Palette:
    """Draw a palette: few hues in harmony, any key from dark to light, from grey to vivid."""
    count = int(rng.integers(3, 7))
    offsets = HARMONIES[str(rng.choice(list(HARMONIES), p=(0.2, 0.2, 0.17, 0.15, 0.1, 0.1, 0.08)))]
    hues = np.radians(rng.uniform(0, 360) + rng.choice(offsets, count) + 8 * rng.standard_normal(count))
    span = rng.uniform(0.32, 0.78)
    darkest = rng.uniform(0.1, 0.95 - span)
    lightness = np.sort(np.linspace(darkest, darkest + span, count) + 0.04 * rng.standard_normal(count))
    lightness = np.clip(lightness, 0.05, 0.98)
    vivid = rng.choice([0.02, 0.06, 0.11, 0.2], p=[0.15, 0.3, 0.35, 0.2])
    chroma = vivid * rng.uniform(0.4, 1.1, count) * np.sqrt(4 * lightness * (1 - lightness))
    lab = np.stack([lightness, chroma * np.cos(hues), chroma * np.sin(hues)], axis=1)
    return Palette(lab, rng.dirichlet(np.full(count, 2.5)))
