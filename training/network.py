"""The network in training: VGG19's layers, narrow and with batch normalisation, and the heads that teach them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nst_spec import preprocessing, vgg19

PREPROCESSING = "imagenet"
DEEPEST = "relu5_1"
CLASS_TAPS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
SHAPE_TAPS = ("relu3_2", "relu4_2")
DIRECTIONS = 64
"""Directions in which the statistics of a style tap's features are taken."""
PATCH = 2
"""Relief values a side that a position of a content tap gives back."""


class Statistics(nn.Module):
    """Mean and deviation of features in some directions, read off their mean and their Gram matrix."""

    def __init__(self, channels: int, directions: int, classes: int) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.randn(directions, channels) / channels**0.5)
        self.normalise = nn.BatchNorm1d(2 * directions)
        self.classify = nn.Linear(2 * directions, classes)

    def forward(self, features: Tensor) -> Tensor:
        """Return a score (N, classes) for every class."""
        flat = features.flatten(2)
        gram = flat @ flat.transpose(1, 2) / flat.shape[2]
        mean = flat.mean(dim=2) @ self.directions.T
        variance = ((gram @ self.directions.T) * self.directions.T).sum(dim=1) - mean.square()
        return self.classify(self.normalise(torch.cat([mean, variance.clamp_min(1e-5).log()], dim=1)))


class Trainee(nn.Module):
    """Features at every tap that teaches, for crops (N, 3, H, W) in [0, 1]; average pooling, as at transfer time."""

    def __init__(self, widths: Sequence[int], classes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleDict()
        channels = vgg19.IMAGE_CHANNELS
        for name in vgg19.layers_to([DEEPEST]):
            if name in vgg19.CONVOLUTIONS:
                width = widths[vgg19.block_of(name) - 1]
                convolution = nn.Conv2d(channels, width, vgg19.KERNEL_SIZE, padding=1, bias=False)
                nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
                self.layers[name] = nn.Sequential(convolution, nn.BatchNorm2d(width))
                channels = width
            elif name.startswith("relu"):
                self.layers[name] = nn.ReLU(inplace=True)
            else:
                self.layers[name] = nn.AvgPool2d(2)
        self.classes, self.shapes = nn.ModuleDict(), nn.ModuleDict()
        for tap in CLASS_TAPS:
            self.classes[tap] = Statistics(_width(widths, tap), DIRECTIONS, classes)
        for tap in SHAPE_TAPS:
            self.shapes[tap] = nn.Sequential(nn.Conv2d(_width(widths, tap), PATCH**2, 1), nn.PixelShuffle(PATCH))
        affine = preprocessing.affine("unit", PREPROCESSING)
        self.register_buffer("scale", torch.tensor(affine.scale).float().view(1, 3, 1, 1))
        self.register_buffer("offset", torch.tensor(affine.offset).float().view(1, 3, 1, 1))

    def forward(self, crops: Tensor) -> dict[str, Tensor]:
        """Return the features at every tap that teaches."""
        x = (crops * self.scale + self.offset).contiguous(memory_format=torch.channels_last)
        features = {}
        for name, layer in self.layers.items():
            x = layer(x)
            if name in (*CLASS_TAPS, *SHAPE_TAPS):
                features[name] = x
        return features


def _width(widths: Sequence[int], tap: str) -> int:
    return widths[vgg19.block_of(tap) - 1]
