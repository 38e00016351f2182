"""Colours by their ICC profile to sRGB (perceptual intent), in 8 and in 16 bits."""

import functools
import io
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from nst_spec.errors import reason

_PERCEPTUAL = ImageCms.Intent.PERCEPTUAL


def to_srgb(image: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
    """Convert an image of mode L, RGB, CMYK or LAB to RGB, by its profile if it has one that makes sense."""
    try:
        if image.mode == "LAB":
            return _converted(image, ImageCms.createProfile("LAB"))
        if profile:
            opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            # Greyscale is often saved with the RGB profile of the picture that it was made from.
            if image.mode == "L" and _space(opened) == "RGB":
                image = image.convert("RGB")
            return _converted(image, opened)
    except (ImageCms.PyCMSError, OSError, ImportError) as error:
        if image.mode == "LAB":
            raise
        notes.append(_ignored(error))
    return image.convert("RGB")


def to_srgb_deep(pixels: NDArray[np.float64], profile: bytes | None, notes: list[str]) -> NDArray[np.float64]:
    """Convert pixels (H, W, 1) or (H, W, 3) in [0, 1] to RGB (H, W, 3) with 16 bits, as `to_srgb` does with 8."""
    rgb = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    if not profile:
        return rgb
    try:
        grey = pixels.shape[2] == 1 and _space(ImageCms.ImageCmsProfile(io.BytesIO(profile))) == "GRAY"
        # Into floating point, since littleCMS interpolates coarsely from 16 bits to 16.
        converted = imagecodecs.cms_transform(
            np.rint((pixels[..., 0] if grey else rgb) * 65535.0).astype(np.uint16),
            profile,
            _srgb_profile(),
            colorspace="gray" if grey else "rgb",
            outcolorspace="rgb",
            outdtype="float64",
            intent=_PERCEPTUAL,
        )
    except (ImageCms.PyCMSError, imagecodecs.CmsError, OSError) as error:
        notes.append(_ignored(error))
        return rgb
    clipped: NDArray[np.float64] = np.clip(converted, 0.0, 1.0)
    return clipped


def _ignored(error: Exception) -> str:
    return f"its ICC profile is ignored: {reason(error)}"


def _space(profile: ImageCms.ImageCmsProfile) -> str:
    return profile.profile.xcolor_space.strip()


@functools.cache
def _srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _converted(image: Image.Image, profile: Any) -> Image.Image:
    transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), image.mode, "RGB", _PERCEPTUAL)
    return transform.apply(image)
