"""The spec's formulas on tensors: features (1, C, H, W), the optimised variable (1, 3, H, W)."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from nst_spec import cpu
from nst_spec.losses import GREY_SHARE

BLOCKS = 16
"""Parts of all positions that are summed apart: in one go, sums over few channels lose a digit of float32 on a CPU."""
GPU_BLOCKS = 4
"""The same on a GPU, where each part takes a start of its own. It adds up products of float32 numbers in parts itself,
but those of bfloat16 in one go: a Gram matrix of 2048 x 2048 positions is 3e-5 off, and 1e-4 if it is one part."""


class _Gram(torch.autograd.Function):
    # F^T F of features F (positions, C). Its gradient F (S + S^T) takes one product, where autograd's own takes two. It
    # has the features' own layout: autograd's has another, in which to add it to the network's takes twice as long.

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        ctx.save_for_backward(features)
        first, *others = features.chunk(GPU_BLOCKS if features.is_cuda else BLOCKS, dim=2)
        total = _products(first)
        for block in others:
            total += _products(block)
        return total

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        (features,) = ctx.saved_tensors
        return _mixed(features, (slope + slope.T).to(features.dtype))


def _wide(features: Tensor) -> Tensor:
    return features.float() if features.dtype == torch.bfloat16 else features


def _products(features: Tensor) -> Tensor:
    flat = _by_position(features)
    if flat.dtype == torch.bfloat16:
        return _products_of_bf16(flat)
    if _convolves(features):
        channels = features.shape[1]
        return conv2d_weight(features, (channels, channels, 1, 1), features)[:, :, 0, 0]
    return flat.T @ flat


def _products_of_bf16(flat: Tensor) -> Tensor:
    # NVIDIA's GPUs multiply bfloat16 numbers exactly and add the products up in float32. A CPU would round the sums to
    # bfloat16; what lets it do the same for float32 numbers is a switch of the whole process, and so of other threads.
    if flat.is_cuda and torch.version.cuda:
        return torch.mm(flat.T, flat, out_dtype=torch.float32)
    flat = flat.float()
    return flat.T @ flat


def _mixed(features: Tensor, mixing: Tensor) -> Tensor:
    if _convolves(features):
        return functional.conv2d(features, mixing[:, :, None, None])
    flat = _by_position(features) @ mixing
    return flat.unflatten(0, (1, *features.shape[2:])).permute(0, 3, 1, 2)


# Both products are also what a 1 x 1 convolution computes, for which oneDNN takes half the time that MKL takes for a
# product on AMD's CPUs with AVX-512, and as much again on Intel's. No convolution takes a tile that owns nothing.


def _convolves(features: Tensor) -> bool:
    return features.is_cpu and features.numel() > 0 and (features.dtype == torch.bfloat16 or not cpu.is_intel())


def _by_position(features: Tensor) -> Tensor:
    # Of features in channels-last layout, a view (positions, C).
    return features[0].permute(1, 2, 0).flatten(0, 1)


def gram(features: Tensor, divisor: float) -> Tensor:
    """Return the Gram matrix (C, C), of features in bfloat16 in float32; nst_spec.losses.gram."""
    return _Gram.apply(features) / divisor


class _SquaredError(torch.autograd.Function):
    # sum (v - t)^2. Its gradient 2 (v - t) needs what is there anyway; autograd's own keeps bfloat16 also in float32.

    @staticmethod
    def forward(ctx: Any, values: Tensor, target: Tensor) -> Tensor:
        ctx.save_for_backward(values, target)
        return functional.mse_loss(_wide(values), _wide(target), reduction="sum")

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        values, target = ctx.saved_tensors
        difference = _wide(values) - target
        return difference.mul_(2 * slope).to(values.dtype), None


def squared_error(values: Tensor, target: Tensor, factor: float) -> Tensor:
    """Return `factor * sum (values - target)^2`, of bfloat16 in float32; nst_spec.losses.squared_error."""
    return factor * _SquaredError.apply(values, target)


def _neighbours(x: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    return (x[:, :, 1:], x[:, :, :-1]), (x[:, :, :, 1:], x[:, :, :, :-1])


def _differences(x: Tensor) -> tuple[Tensor, ...]:
    return tuple(later - earlier for later, earlier in _neighbours(x))


def _cropped_squares(x: Tensor) -> Tensor:
    dy, dx = _differences(x)
    return dy[:, :, :, :-1].square() + dx[:, :, :-1].square()


def _tv_l1(x: Tensor) -> Tensor:
    dy, dx = _differences(x)
    return dy.abs().sum() + dx.abs().sum()


class _SquaredDifferences(torch.autograd.Function):
    # sum dy^2 + sum dx^2, in half of the time that autograd takes for it, and less memory.

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return sum(functional.mse_loss(*pair, reduction="sum") for pair in _neighbours(x))

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        by_x = torch.zeros_like(x)
        for (later, earlier), (by_later, by_earlier) in zip(_neighbours(x), _neighbours(by_x), strict=True):
            difference = later - earlier
            by_later += difference
            by_earlier -= difference
        return by_x.mul_(2 * slope)


def _tv_mean_squared(x: Tensor) -> Tensor:
    return _SquaredDifferences.apply(x) / x.numel()


def _tv_mean_squared_colour(x: Tensor) -> Tensor:
    return _tv_mean_squared(x) - (1 - GREY_SHARE) * _tv_mean_squared(x.mean(dim=1, keepdim=True))


TV_FORMS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "l1": _tv_l1,
    "half-squared": lambda x: 0.5 * _cropped_squares(x).sum(),
    "power-1.25": lambda x: torch.pow(_cropped_squares(x), 1.25).sum(),
    "mean-squared": _tv_mean_squared,
    "mean-squared-colour": _tv_mean_squared_colour,
}


def total_variation(variable: Tensor, form: str) -> Tensor:
    """Return the total variation of the optimised variable; nst_spec.losses.total_variation."""
    return TV_FORMS[form](variable)
