"""VGG19 from torchvision's builder, with the spec's weights and pooling, cut at the deepest tap."""

from collections.abc import Mapping, Sequence

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.vgg import make_layers

from nst_spec import vgg19
from nst_spec.recipe import Pooling


def _pooling_layer(pooling: Pooling) -> nn.Module:
    ceil = pooling.rounding == "ceil"
    if pooling.kind == "average":
        return nn.AvgPool2d(kernel_size=2, stride=2, ceil_mode=ceil, count_include_pad=False)
    return nn.MaxPool2d(kernel_size=2, stride=2, ceil_mode=ceil)


def _configuration(widths: Sequence[int]) -> list[str | int]:
    # The form of torchvision.models.vgg.cfgs: a number is a convolution with its ReLU, "M" a pooling.
    return [
        "M" if layer.startswith("pool") else widths[vgg19.block_of(layer) - 1]
        for layer in vgg19.LAYERS
        if not layer.startswith("relu") and vgg19.block_of(layer) <= len(widths)
    ]


class Network(nn.Module):
    """Features at the taps, for a preprocessed image (1, 3, H, W).

    The first convolution computes in `image_dtype`, the others in `dtype`; nst_spec.backend.PRECISIONS says why.
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
    ) -> None:
        super().__init__()
        self.taps = vgg19.check_taps(taps)
        with torch.device("meta"):
            features = make_layers(_configuration(vgg19.widths_of(weights)))
        self.layers = nn.ModuleDict()
        for index, name in enumerate(vgg19.layers_to(taps)):
            layer = features[index]
            if name in vgg19.CONVOLUTIONS:
                own = image_dtype if name == vgg19.CONVOLUTIONS[0] else dtype
                layer.load_state_dict(
                    {part: torch.tensor(weights[f"{name}.{part}"], dtype=own) for part in ("weight", "bias")},
                    assign=True,
                )
            elif name.startswith("relu"):
                # torchvision's works in place, always, and would rectify the raw tap before it.
                layer = nn.ReLU(inplace=False)
            else:
                layer = _pooling_layer(pooling)
            self.layers[name] = layer
        # Positions first is the layout that convolutions are fastest in, and Gram matrices need no copy of it.
        self.to(device, memory_format=torch.channels_last).requires_grad_(False).eval()

    def forward(self, x: Tensor, wanted: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Return the features (1, C, H, W) at every tap, or at the layers that are wanted."""
        wanted = self.taps if wanted is None else wanted
        features = {}
        below = "input"
        for name, layer in self.layers.items():
            if isinstance(layer, nn.Conv2d):
                x = x.to(layer.weight.dtype)
            # What nobody reads before it is rectified is rectified where it lies.
            x = x.relu_() if name.startswith("relu") and below not in wanted else layer(x)
            if name in wanted:
                features[name] = x
            below = name
            if len(features) == len(wanted):
                break
        return features
