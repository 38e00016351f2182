"""Every loss formula, in float64 NumPy.

Features F are (H, W, N): N channels at M = H*W positions. Three facts describe every published variant: the Gram
matrix's divisor, the factor before the sum of squares of the content term, and that of the style term. Backends take
the divisors and factors from here and do the sums of squares on native tensors.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nst_spec.errors import named

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """What a divisor or factor may depend on: channels N, positions M of the tap, positions of the image."""

    channels: int
    positions: int
    image_positions: int


def _inverse(energy: float) -> float:
    # A target without energy (every filter silent) has nothing to match; its term is left out rather than infinite.
    return 1.0 / energy if energy > 0.0 else 0.0


GRAM_DIVISORS: Mapping[str, Callable[[Shape], float]] = {
    # Gatys et al. 2016, eq. 3
    "none": lambda s: 1.0,
    # Gatys' notebook, both TensorFlow tutorials
    "positions": lambda s: float(s.positions),
    # Sonare 2024: 1/N sum_k, N the number of channels
    "channels": lambda s: float(s.channels),
    # PyTorch's tutorial, neural-style
    "elements": lambda s: float(s.channels * s.positions),
}

CONTENT_FACTORS: Mapping[str, Callable[[Shape, float], float]] = {
    # keras-io: sum (F-P)^2
    "sum": lambda s, energy: 1.0,
    # Gatys et al. 2016, eq. 1
    "half-sum": lambda s, energy: 0.5,
    # nn.MSELoss, tf.reduce_mean
    "mean": lambda s, energy: 1.0 / (s.channels * s.positions),
    # Sonare 2024: 1/(2K) sum, K = N*M
    "half-mean": lambda s, energy: 0.5 / (s.channels * s.positions),
    # neural-style-tf, content_loss_function 1: 1/(2 sqrt(N) sqrt(M))
    "half-over-root": lambda s, energy: 0.5 / float(np.sqrt(s.channels) * np.sqrt(s.positions)),
    # ours: relative to the target's energy, sum P^2, so the same at every size and for every weight set
    "energy": lambda s, energy: _inverse(energy),
}

STYLE_FACTORS: Mapping[str, Callable[[Shape, float], float]] = {
    # nn.MSELoss between Gram matrices: 1/N^2
    "mean": lambda s, energy: 1.0 / s.channels**2,
    # Gatys et al. 2016, eq. 4: 1/(4 N^2 M^2)
    "gatys": lambda s, energy: 0.25 / (float(s.channels) * s.positions) ** 2,
    # Udacity 2018: the mean, then / (C*H*W)
    "mean-per-element": lambda s, energy: 1.0 / (float(s.channels) ** 3 * s.positions),
    # keras-io: 1/(4 * 3^2 * (image height * width)^2), whatever the tap
    "image-size": lambda s, energy: 1.0 / (4.0 * 3**2 * float(s.image_positions) ** 2),
    # ours: relative to the target Gram's energy, sum A^2
    "energy": lambda s, energy: _inverse(energy),
}


def gram_divisor(form: str, shape: Shape) -> float:
    """Return the divisor of the Gram matrix; raises NstError for an unknown form, naming the accepted ones."""
    return named("Gram divisor", form, GRAM_DIVISORS)(shape)


def content_factor(form: str, shape: Shape, energy: float) -> float:
    """Return the factor of the content term; `energy` is sum P^2 of the target features.

    Raises NstError for an unknown form, naming the accepted ones.
    """
    return named("content term", form, CONTENT_FACTORS)(shape, energy)


def style_factor(form: str, shape: Shape, energy: float) -> float:
    """Return the factor of the style term; `energy` is sum A^2 of the target Gram matrix as the recipe divides it.

    Raises NstError for an unknown form, naming the accepted ones.
    """
    return named("style term", form, STYLE_FACTORS)(shape, energy)


def gram(features: Array, divisor: float) -> Array:
    """Return the Gram matrix (N, N): `G_ij = sum_k F_ki F_kj / divisor`, k over positions. Gatys et al. 2016, eq. 3."""
    flat = features.reshape(-1, features.shape[-1])
    return flat.T @ flat / divisor


def gram_pull_back(features: Array, divisor: float, gradient: Array) -> Array:
    """Return dL/dF (H, W, N) from dL/dG (N, N): `F (dL/dG + dL/dG^T) / divisor`."""
    flat = features.reshape(-1, features.shape[-1])
    return (flat @ (gradient + gradient.T) / divisor).reshape(features.shape)


def blended(grams: Sequence[Any], shares: Sequence[float]) -> Any:
    """Return the Gram matrix that several style images' together stand for: `sum_i share_i A_i`.

    `grams` are those of one tap, (N, N), of NumPy's arrays or a backend's own, each with its own image's divisor;
    `shares` sum to 1. neural-style, `-style_blend_weights`.
    """
    first, *others = (share * gram for gram, share in zip(grams, shares, strict=True))
    return sum(others, first)


def squared_error(values: Array, target: Array, factor: float) -> tuple[float, Array]:
    """Return `factor * sum (values - target)^2` and its gradient with respect to `values`.

    The content term with values F and target P, the style term with values G and target A.
    """
    difference = values - target
    return factor * float(np.sum(difference**2)), 2.0 * factor * difference


def _differences(x: Array) -> tuple[Array, Array]:
    return x[1:] - x[:-1], x[:, 1:] - x[:, :-1]


def _spread(vertical: Array, horizontal: Array, shape: tuple[int, ...]) -> Array:
    # The adjoint of _differences; each array may end early, as the cropped forms do.
    gradient = np.zeros(shape)
    h, w = vertical.shape[:2]
    gradient[1 : h + 1, :w] += vertical
    gradient[:h, :w] -= vertical
    h, w = horizontal.shape[:2]
    gradient[:h, 1 : w + 1] += horizontal
    gradient[:h, :w] -= horizontal
    return gradient


def _tv_l1(x: Array) -> tuple[float, Array]:
    dy, dx = _differences(x)
    return float(np.abs(dy).sum() + np.abs(dx).sum()), _spread(np.sign(dy), np.sign(dx), x.shape)


def _tv_half_squared(x: Array) -> tuple[float, Array]:
    dy, dx = (d[: x.shape[0] - 1, : x.shape[1] - 1] for d in _differences(x))
    return float(0.5 * (dy**2 + dx**2).sum()), _spread(dy, dx, x.shape)


def _tv_power(x: Array) -> tuple[float, Array]:
    dy, dx = (d[: x.shape[0] - 1, : x.shape[1] - 1] for d in _differences(x))
    squares = dy**2 + dx**2
    slope = 1.25 * squares**0.25
    return float((squares**1.25).sum()), _spread(slope * 2 * dy, slope * 2 * dx, x.shape)


def _tv_mean_squared(x: Array) -> tuple[float, Array]:
    dy, dx = _differences(x)
    return float(((dy**2).sum() + (dx**2).sum()) / x.size), _spread(2 * dy / x.size, 2 * dx / x.size, x.shape)


GREY_SHARE = 0.1
"""How much a difference in grey counts in `mean-squared-colour`, where a difference in colour counts 1."""


def _tv_mean_squared_colour(x: Array) -> tuple[float, Array]:
    value, gradient = _tv_mean_squared(x)
    grey, by_grey = _tv_mean_squared(x.mean(axis=-1, keepdims=True))
    return value - (1 - GREY_SHARE) * grey, gradient - (1 - GREY_SHARE) * by_grey / x.shape[-1]


TV_FORMS: Mapping[str, Callable[[Array], tuple[float, Array]]] = {
    # tf.image.total_variation, neural-style-pt, neural-style-tf: sum |dy| + sum |dx|
    "l1": _tv_l1,
    # neural-style (Lua): 1/2 sum (dy^2 + dx^2) where both differences exist
    "half-squared": _tv_half_squared,
    # keras-io: sum (dy^2 + dx^2)^1.25 where both differences exist
    "power-1.25": _tv_power,
    # ours: (sum dy^2 + sum dx^2) / (3 H W), the same at every size
    "mean-squared": _tv_mean_squared,
    # ours: the same, less all but GREY_SHARE of that of the mean of the channels; it smooths colour above all
    "mean-squared-colour": _tv_mean_squared_colour,
}


def total_variation(variable: Array, form: str) -> tuple[float, Array]:
    """Return the total variation of the optimised variable (H, W, 3), in its own pixel space, and its gradient.

    dy and dx are differences of neighbouring rows and columns, per channel.

    Raises NstError for an unknown form, naming the accepted ones.
    """
    return named("total-variation form", form, TV_FORMS)(variable)


def total_loss(content: float, style: float, tv: float, weights: tuple[float, float, float]) -> float:
    """Return `alpha*content + beta*style + tv_weight*tv` for weights (alpha, beta, tv_weight)."""
    alpha, beta, tv_weight = weights
    return alpha * content + beta * style + tv_weight * tv
