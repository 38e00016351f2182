"""The 16 bits a channel of PNG and TIFF files, of which Pillow keeps only the high 8 of a colour."""

from typing import BinaryIO

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin
from tifffile import EXTRASAMPLE, PHOTOMETRIC, PLANARCONFIG, SAMPLEFORMAT


def has_16_bits(image: Image.Image) -> bool:
    """Return whether a file that Pillow has just opened has what `samples` reads: grey or RGB of 16 bits."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tags = image.tag_v2
        return (
            set(tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))) == {16}
            and set(tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))) == {SAMPLEFORMAT.UINT}
            and tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION)
            in (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB)
        )
    return image.format == "PNG" and loses_bits(image)


def loses_bits(image: Image.Image) -> bool:
    """Return whether an image of Pillow's that is not decoded yet has 16 bits a channel."""
    # Pillow has no colour mode of 16 bits; only the tiles to decode still tell.
    return any(";16" in str(tile[3]) for tile in getattr(image, "tile", []))


def samples(image: Image.Image, file: BinaryIO) -> NDArray[np.float64]:
    """Read the pixels (H, W, C) in [0, 1] of a file that `has_16_bits`, as stored: neither turned nor converted.

    C is 1 for grey, 2 for grey and alpha, 3 for RGB, 4 for RGB and alpha; alpha is not multiplied in.
    """
    file.seek(0)
    if image.format == "PNG":
        values = imagecodecs.png_decode(file.read())
        return values.reshape(*values.shape[:2], -1) / 65535.0
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages.first
        stored = page.asarray()
        if stored.ndim == 3 and page.planarconfig == PLANARCONFIG.SEPARATE:
            stored = np.moveaxis(stored, 0, -1)
        pixels: NDArray[np.float64] = stored.reshape(*stored.shape[:2], -1) / 65535.0
        if page.photometric == PHOTOMETRIC.MINISWHITE:
            pixels = 1.0 - pixels
        if pixels.shape[2] in (1, 3) or page.extrasamples[:1] == (EXTRASAMPLE.UNSPECIFIED,):
            return pixels[..., : 3 if page.photometric == PHOTOMETRIC.RGB else 1]
        if page.extrasamples[:1] == (EXTRASAMPLE.ASSOCALPHA,):
            colour, alpha = pixels[..., :-1], pixels[..., -1:]
            colour[...] = np.divide(colour, alpha, out=np.zeros_like(colour), where=alpha > 0.0).clip(0.0, 1.0)
        return pixels
