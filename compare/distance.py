"""How far apart two arrays are."""

import math
from collections.abc import Sequence

import numpy as np

from compare.trace import Array
from nst_spec.backend import finite_or_none


def relative(received: Array, expected: Array) -> float | None:
    """Return the norm of the difference over the norm of what is expected; 0 where both are all zero.

    None for different shapes, and where it is no finite number.
    """
    if received.shape != expected.shape:
        return None
    expected = expected.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        difference = float(np.linalg.norm(received.astype(np.float64) - expected))
        return finite_or_none(over(difference, float(np.linalg.norm(expected))))


def length_error(received: Array, expected: Array) -> float | None:
    """Return how far the product of both over the expected one's square is from 1; 0 where both are all zero.

    What differs at random has no part in it. None as for `relative`.
    """
    if received.shape != expected.shape:
        return None
    received, expected = received.astype(np.float64), expected.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        difference, square = float(np.sum((received - expected) * expected)), float(np.sum(expected**2))
    return finite_or_none(over(abs(difference), square)) if expected.any() or not received.any() else None


def over(difference: float, norm: float) -> float:
    """Return a difference over a norm; 0 where both are 0, infinity where the norm alone is, NaN for one not finite."""
    if not math.isfinite(norm):
        return math.nan
    return difference / norm if norm else 0.0 if difference == 0.0 else math.inf


def greatest(values: Sequence[float | None], default: float | None = None) -> float | None:
    """Return the greatest value, None where one of them is not known."""
    known = [value for value in values if value is not None]
    return max(known, default=default) if len(known) == len(values) else None
