"""Random fields: white noise through a filter."""

import math
from collections.abc import Callable

import numpy as np
from scipy import fft

from training.textures.arrays import Array
from training.textures.kit import Kit


def filtered_noise(kit: Kit, response: Callable[[Array], Array], stretch: float, angle: float) -> Array:
    """Return white noise through a filter of frequency (cycles per pixel), mean 0 and deviation 1.

    `stretch` lengthens the features along `angle`.
    """
    fy, fx = fft.fftfreq(kit.size)[:, None], fft.rfftfreq(kit.size)[None]
    along, across = fx * math.cos(angle) + fy * math.sin(angle), fy * math.cos(angle) - fx * math.sin(angle)
    amplitude = response(np.hypot(along * stretch, across).astype(np.float32))
    amplitude[0, 0] = 0
    white = kit.rng.standard_normal((kit.size, kit.size), dtype=np.float32)
    field: Array = np.asarray(fft.irfft2(fft.rfft2(white) * amplitude, s=white.shape), np.float32)
    field /= field.std() + 1e-6
    return field


def smooth_noise(kit: Kit, scale: float, stretch: float = 1, angle: float = 0) -> Array:
    """Return noise with blobs of about `scale` pixels and nothing finer."""
    return filtered_noise(kit, lambda f: np.exp(-5 * (scale * f) ** 2), stretch, angle)


def fractal_noise(kit: Kit, scale: float, slope: float = 1.5, stretch: float = 1, angle: float = 0) -> Array:
    """Return noise with detail at every size up to `scale` pixels; the steeper the smoother."""
    return filtered_noise(kit, lambda f: (1 + (2 * scale * f) ** 2) ** (-slope / 2), stretch, angle)


def band_noise(kit: Kit, period: float, width: float = 0.15, stretch: float = 1, angle: float = 0) -> Array:
    """Return noise of one wavelength in pixels, give or take `width` of its frequency."""
    return filtered_noise(kit, lambda f: np.exp(-0.5 * ((f * period - 1) / width) ** 2), stretch, angle)


def grained(kit: Kit, picture: Array, scale: float, amount: float) -> Array:
    """Return a colour or a picture under a grain of up to `scale` pixels that lightens and darkens it by `amount`."""
    return np.asarray(picture * (1 + amount * fractal_noise(kit, scale, 1)[..., None]))
