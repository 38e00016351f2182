"""The one resampler."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def resample(image: NDArray[np.floating], width: int, height: int) -> NDArray[np.floating]:
    """Resample an image with Pillow's Lanczos filter, each channel in float32.

    Lanczos overshoots at edges, so values a little outside the image's range are normal: callers clip (`fitted`).

    Args:
        image: (H, W, C), floating point.
        width: the width wanted.
        height: the height wanted.

    Returns:
        (height, width, C) in the image's own dtype; the very same object when the size is already right.
    """
    if image.shape[:2] == (height, width):
        return image
    channels = []
    for c in range(image.shape[2]):
        channel = Image.fromarray(np.ascontiguousarray(image[..., c], np.float32))
        channels.append(np.asarray(channel.resize((width, height), Image.Resampling.LANCZOS)))
    return np.stack(channels, axis=-1).astype(image.dtype)


def fitted(pixels: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
    """Return a picture's pixels (H, W, 3) resampled to a size and clipped to [0, 1]."""
    clipped: NDArray[np.float64] = np.clip(np.asarray(resample(pixels, width, height), np.float64), 0.0, 1.0)
    return clipped
