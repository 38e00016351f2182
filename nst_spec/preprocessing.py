"""Pixel spaces: what the optimiser's numbers, and the network's input, mean.

Every space is an affine image of RGB in [0, 1]: its channel c holds `(unit[order[c]] * scale - mean[c]) / std[c]`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nst_spec.errors import named


@dataclass(frozen=True)
class PixelSpace:
    """A pixel space; `mean` and `std` are in the space's own channel order and in units of `scale`."""

    order: tuple[int, int, int]
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


RGB, BGR = (0, 1, 2), (2, 1, 0)
NO_STD = (1.0, 1.0, 1.0)
OXFORD_MEAN = (103.939, 116.779, 123.68)
"""The Oxford group's published mean pixel, BGR."""

SPACES = {
    "unit": PixelSpace(RGB, 1.0, (0.0, 0.0, 0.0), NO_STD),
    # torchvision.models.VGG19_Weights.IMAGENET1K_V1.transforms()
    "imagenet": PixelSpace(RGB, 1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    # keras.applications.imagenet_utils.preprocess_input(mode="caffe")
    "caffe": PixelSpace(BGR, 255.0, OXFORD_MEAN, NO_STD),
    # neural-style and neural-style-pt multiply by 256, not 255, before they subtract the same mean
    "caffe-256": PixelSpace(BGR, 256.0, OXFORD_MEAN, NO_STD),
}


@dataclass(frozen=True)
class Affine:
    """A map between pixel spaces: `target[..., c] = source[..., order[c]] * scale[c] + offset[c]`."""

    order: tuple[int, int, int]
    scale: NDArray[np.float64]
    offset: NDArray[np.float64]

    @property
    def is_identity(self) -> bool:
        """Whether the map changes nothing."""
        return self.order == RGB and bool(np.all(self.scale == 1.0) and np.all(self.offset == 0.0))

    def __call__(self, image: NDArray[Any]) -> NDArray[Any]:
        """Map an image (H, W, 3), in the image's own precision."""
        if self.is_identity:
            return image
        mapped = image[..., list(self.order)] * self.scale.astype(image.dtype) + self.offset.astype(image.dtype)
        return np.asarray(mapped)

    def pull_back(self, gradient: NDArray[Any]) -> NDArray[Any]:
        """Map a gradient with respect to the target (H, W, 3) to one with respect to the source."""
        back = np.empty_like(gradient)
        back[..., list(self.order)] = gradient * self.scale.astype(gradient.dtype)
        return back


def space_named(name: str) -> PixelSpace:
    """Return the space called `name`; raises NstError naming the accepted ones."""
    return named("pixel space", name, SPACES)


def affine(source: str, target: str) -> Affine:
    """Return the map from one named space to another, its constants computed in float64.

    From a space to itself the map is the exact identity, so nothing is rounded on the way.

    Raises NstError where there is no such space.
    """
    a, b = space_named(source), space_named(target)
    if source == target:
        return Affine(RGB, np.ones(3), np.zeros(3))
    order = [a.order.index(channel) for channel in b.order]
    a_mean, a_std, b_mean, b_std = (np.asarray(v, np.float64) for v in (a.mean, a.std, b.mean, b.std))
    scale = a_std[order] / a.scale * b.scale / b_std
    offset = (a_mean[order] / a.scale * b.scale - b_mean) / b_std
    return Affine((order[0], order[1], order[2]), scale, offset)


def box(space: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the least and the greatest value of each channel (3,) that a colour in [0, 1] has in the space."""
    to_space = affine("unit", space)
    return to_space(np.zeros(3)), to_space(np.ones(3))
