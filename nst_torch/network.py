"""VGG19 of torch's own layers, with the spec's weights and pooling, cut at the deepest tap."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from nst_spec import vgg19
from nst_spec import winograd as spec
from nst_spec.recipe import Pooling
from nst_torch import winograd as algorithm


class _Convolved(torch.autograd.Function):
    # A convolution, rectified if asked, its output in `dtype`. cuDNN rectifies in the same go, where PyTorch reads and
    # writes the features three times over. The gradient is a convolution with the turned kernel: cuDNN's own takes up
    # to eight times as long in float32, and is faster only where few channels come out.

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: nn.Conv2d, rectify: bool, dtype: torch.dtype) -> Tensor:
        # cuDNN's does not keep to the switch that asks for the same bits every time, and ROCm has none.
        fuses = x.is_cuda and torch.version.cuda and not torch.backends.cudnn.deterministic
        if rectify and fuses and x.dtype != torch.float64:
            y = torch.cudnn_convolution_relu(x, layer.weight, layer.bias, (1, 1), (1, 1), (1, 1), 1)
        else:
            y = _convolution(x, layer)
            y = y.relu_() if rectify else y
        y = y.to(dtype)
        ctx.layer = layer
        ctx.save_for_backward(*([y] if rectify else []))
        return y

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None, None]:
        for y in ctx.saved_tensors:
            slope = torch.ops.aten.threshold_backward(slope, y, 0)
        return _gradient(slope.to(ctx.layer.weight.dtype), ctx.layer), None, None, None


def _convolution(x: Tensor, layer: nn.Conv2d) -> Tensor:
    if layer.transformed is None:
        return functional.conv2d(x, layer.weight, layer.bias, padding=1)
    return algorithm.convolution(x, layer.transformed, layer.bias)


def _gradient(slope: Tensor, layer: nn.Conv2d) -> Tensor:
    if layer.transformed is not None:
        return algorithm.convolution(slope, layer.transformed, None, turned=True)
    if layer.turned is not None:
        return functional.conv2d(slope, layer.turned, padding=1)
    return (_spread_by_product if slope.is_cuda else _spread)(slope, layer.weight)


def _spread(slope: Tensor, kernel: Tensor) -> Tensor:
    return functional.conv_transpose2d(slope, kernel, padding=1)


def _spread_by_product(slope: Tensor, kernel: Tensor) -> Tensor:
    # In float32 cuDNN's takes four times as long above 1024 x 1024 px.
    shares = kernel.flatten(1).T @ slope[0].permute(1, 2, 0).flatten(0, 1).T
    return functional.fold(shares[None], slope.shape[2:], kernel.shape[2:], padding=1)


class _WholeAverages(torch.autograd.Function):
    # Averages of 2 x 2 positions, an odd last line left out. PyTorch's own take four times as long on a GPU, and its
    # gradient alone does on a CPU.

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.sides = x.shape[2:]
        return _windows(x).mean((2, 4)).permute(0, 3, 1, 2) if x.is_cuda else functional.avg_pool2d(x, 2)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        height, width = ctx.sides
        share = 0.25 * slope
        if slope.is_cpu:
            share = share.contiguous(memory_format=torch.channels_last)
            back = functional.interpolate(share, scale_factor=2, mode="nearest")
            odd = height % 2, width % 2
            return functional.pad(back, (0, odd[1], 0, odd[0])) if any(odd) else back
        batch, channels = slope.shape[:2]
        back = slope.new_empty(batch, height, width, channels).permute(0, 3, 1, 2)
        _windows(back).copy_(share.permute(0, 2, 3, 1)[:, :, None, :, None])
        if height % 2:
            back[:, :, -1] = 0
        if width % 2:
            back[:, :, :, -1] = 0
        return back


def _windows(x: Tensor) -> Tensor:
    """A view (1, H/2, 2, W/2, 2, C) of the whole windows of 2 x 2 positions."""
    height, width = x.shape[2] // 2, x.shape[3] // 2
    whole = x[:, :, : 2 * height, : 2 * width].permute(0, 2, 3, 1)
    return whole.unflatten(2, (width, 2)).unflatten(1, (height, 2))


class _AveragePool(nn.AvgPool2d):
    def forward(self, x: Tensor) -> Tensor:
        completes = self.ceil_mode and (x.shape[2] % 2 or x.shape[3] % 2)
        gains = x.is_cuda or x.is_cpu
        return _WholeAverages.apply(x) if gains and not completes else super().forward(x)


def _pooling_layer(pooling: Pooling) -> nn.Module:
    ceil = pooling.rounding == "ceil"
    if pooling.kind == "average":
        return _AveragePool(kernel_size=2, stride=2, ceil_mode=ceil, count_include_pad=False)
    return nn.MaxPool2d(kernel_size=2, stride=2, ceil_mode=ceil)


class Network(nn.Module):
    """Features at the taps, for a preprocessed image (1, 3, H, W).

    The first convolution computes in `image_dtype`, all after it in `dtype`; nst_spec.settings.PRECISIONS says why.
    `winograd` is whether those of many channels take Winograd's algorithm, `exact` whether all take the layout in which
    a CPU rounds least: with AVX-512, oneDNN is three times as exact with channels first (the worst layer of VGG19 in
    float32: 6.7e-7 against 2.0e-6), and slower.
    """

    def __init__(
        self,
        weights: Mapping[str, NDArray],
        taps: Sequence[str],
        pooling: Pooling,
        *,
        dtype: torch.dtype,
        image_dtype: torch.dtype,
        device: torch.device,
        winograd: bool = False,
        exact: bool = False,
    ) -> None:
        super().__init__()
        self.taps = vgg19.check_taps(taps)
        self.layers = nn.ModuleDict()
        for name in vgg19.layers_to(taps):
            if name in vgg19.CONVOLUTIONS:
                is_first = name == vgg19.CONVOLUTIONS[0]
                own = image_dtype if is_first else dtype
                parts = {part: torch.tensor(weights[f"{name}.{part}"], dtype=own) for part in ("weight", "bias")}
                kernel = parts["weight"]
                channels_out, channels_in = kernel.shape[:2]
                layer = nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1, device="meta")
                layer.load_state_dict(parts, assign=True)
                takes_winograd = winograd and spec.gains(weights[f"{name}.weight"])
                layer.register_buffer("transformed", algorithm.transformed(kernel) if takes_winograd else None)
                turned = None if is_first or takes_winograd else kernel.flip(2, 3).transpose(0, 1)
                layer.register_buffer("turned", turned)
            elif name.startswith("relu"):
                layer = nn.ReLU()
            else:
                layer = _pooling_layer(pooling)
            self.layers[name] = layer
        self.dtype = dtype
        # Positions first is the layout that convolutions are fastest in, and Gram matrices need no copy of it.
        self.layout = torch.contiguous_format if exact else torch.channels_last
        self.to(device, memory_format=self.layout).requires_grad_(False).eval()

    def forward(self, x: Tensor, wanted: Sequence[str] | None = None) -> Iterator[tuple[str, Tensor]]:
        """Yield every tap, or every layer that is wanted, from the first on, with its features (1, C, H, W)."""
        missing = set(self.taps if wanted is None else wanted)
        rectified = None
        x = x.contiguous(memory_format=self.layout)
        for name, layer in self.layers.items():
            if not missing:
                break
            if name == rectified:  # together with its convolution
                pass
            elif isinstance(layer, nn.Conv2d):
                # What nobody reads before it is rectified is rectified where it lies.
                rectified = vgg19.rectified(name) if name not in missing else None
                rectify = rectified in self.layers
                x = _Convolved.apply(x, layer, rectify, self.dtype if rectify else layer.weight.dtype)
            else:
                x = layer(x.to(self.dtype))
            if name in missing:
                missing.remove(name)
                yield name, x
