"""Crops of pictures in changing colours, batch by batch."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from training.pictures import LUMA, Pictures


@dataclass(frozen=True)
class Batch:
    """Crops (N, 3, side, side) as they are and in other colours, in [0, 1]; textures first, and their classes (M,)."""

    plain: Tensor
    coloured: Tensor
    classes: Tensor

    def to(self, device: str) -> "Batch":
        """Return the batch on a device."""
        return Batch(self.plain.to(device), self.coloured.to(device), self.classes.to(device))


def batch(rng: Generator, textures: Pictures, scenes: Pictures, counts: tuple[int, int], side: int) -> Batch:
    """Return crops of so many textures and scenes, `side` pixels square."""
    classes, others = (
        rng.choice(len(pictures), count, replace=False)
        for pictures, count in zip((textures, scenes), counts, strict=True)
    )
    chosen = [textures[index] for index in classes] + [scenes[index] for index in others]
    stacked = np.stack([cropped(rng, picture, side) for picture in chosen])
    plain = torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255
    return Batch(plain, recoloured(rng, plain), torch.from_numpy(classes))


def cropped(rng: Generator, picture: Pictures, side: int) -> Pictures:
    """Return a crop from anywhere in a picture."""
    top, left = rng.integers(0, np.array(picture.shape[:2]) - side + 1)
    return picture[top : top + side, left : left + side]


def recoloured(rng: Generator, crops: Tensor) -> Tensor:
    """Return crops each in colours of its own: left alone (40%), grey (30%) or mixed anew (30%).

    All but the first are also lightened or darkened and given more or less contrast: a texture is to be known by its
    marks, and a palette alone would do.
    """
    count = len(crops)
    mixing = np.tile(np.eye(3), (count, 1, 1))
    lottery = rng.random(count)
    mixing[lottery < 0.3] = LUMA
    anew = (lottery >= 0.3) & (lottery < 0.6)
    # A permutation of the channels, and a little of every channel in every other.
    mixing[anew] = np.stack([rng.permutation(np.eye(3)) for _ in range(anew.sum())] or [np.eye(3)])[: anew.sum()]
    mixing[anew] += rng.uniform(-0.2, 0.2, (int(anew.sum()), 3, 3))
    mixing[anew] /= mixing[anew].sum(axis=2, keepdims=True)
    touched = (lottery < 0.6)[:, None, None]
    contrast = np.where(touched, rng.uniform(0.6, 1.2, (count, 1, 1)), 1)
    lift = np.where(touched, 0.5 * (1 - contrast) + rng.uniform(-0.12, 0.12, (count, 1, 1)), 0)
    matrix, offset = torch.tensor(mixing * contrast).float(), torch.tensor(lift).float()
    return (torch.einsum("nij,njhw->nihw", matrix, crops) + offset[..., None]).clamp(0, 1)


def relief(crops: Tensor, window: int = 17) -> Tensor:
    """Return lightness (N, 1, H, W) less its surroundings' mean, over their deviation: shapes without colours."""
    light = torch.einsum("j,njhw->nhw", torch.tensor(LUMA), crops)[:, None]

    def around(x: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(x, window, 1, window // 2, count_include_pad=False)

    mean = around(light)
    deviation = (around(light.square()) - mean.square()).clamp_min(0).sqrt()
    return (light - mean) / (deviation + 0.03)
