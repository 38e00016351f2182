"""Arithmetic on fields and pictures: edges, blends, gradients, readings."""

import numpy as np
from scipy import ndimage

from training.textures.arrays import Array


def turned(y: Array, x: Array, angle: float | Array) -> tuple[Array, Array]:
    """Return the coordinates along and across a direction."""
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def mix(first: Array, second: Array, weight: Array) -> Array:
    """Blend two colours or pictures: 0 is the first; a weight may lack the channels."""
    if weight.ndim == 2:
        weight = weight[..., None]
    return first + (second - first) * weight


def coverage(distance: Array) -> Array:
    """Return how much of a pixel a shape covers whose edge is `distance` pixels away, negative inside."""
    covered: Array = np.clip(0.5 - distance, 0, 1)
    return covered


def smoothstep(low: float, high: float, value: Array) -> Array:
    """Rise smoothly from 0 at `low` to 1 at `high`."""
    t: Array = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def steepness(field: Array) -> Array:
    """Return the length of a field's gradient per pixel, never zero."""
    down, right = np.gradient(field)
    return np.asarray(np.hypot(down, right) + 1e-4)


def blur(field: Array, sigma: float) -> Array:
    """Blur a field or a picture's channels."""
    sigmas = (sigma, sigma, 0)[: field.ndim]
    return np.asarray(ndimage.gaussian_filter(field, sigmas, mode="nearest"), np.float32)


def at(field: Array, points: Array) -> Array:
    """Read a field at points, which may lie a little outside."""
    rows, columns = np.clip(np.rint(points), 0, len(field) - 1).astype(np.intp).T
    found: Array = field[rows, columns]
    return found
