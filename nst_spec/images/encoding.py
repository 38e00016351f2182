"""Pixels to bytes: PNG and TIFF with 8 or 16 bits a channel, other formats with 8."""

import io
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, TypeVar

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from nst_spec.images.records import RECORD_KEY, to_description

CLASSIC_TIFF = 2**32 - 2**25
"""The bytes of pixels above which a TIFF is a BigTIFF: 4 GiB, with room for tags and a compressor's worst case."""

_TILE = 512
_BAND = 256
_PNG_HEAD = 8 + 25
"""The bytes of a PNG's signature and IHDR chunk."""

_SAVE_OPTIONS: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}

Whole = TypeVar("Whole", np.uint8, np.uint16)


def to_uint8(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return an image clipped to [0, 1] and rounded, half to even, to 0 .. 255."""
    return _rounded(image, np.uint8)


def to_uint16(image: NDArray[np.floating]) -> NDArray[np.uint16]:
    """Return an image clipped to [0, 1] and rounded, half to even, to 0 .. 65535."""
    return _rounded(image, np.uint16)


DEPTHS: dict[int, Callable[[NDArray[np.floating]], NDArray[Any]]] = {8: to_uint8, 16: to_uint16}
"""The bits a channel that can be written, and what rounds to them."""


def write_with_pillow(file: BinaryIO, image: NDArray[np.floating], format_name: str, **options: Any) -> None:
    """Write an image (H, W, 3), RGB, in a format of Pillow's, with 8 bits a channel."""
    # By way of memory: of a file that it cannot write, Pillow does not say why.
    buffer = io.BytesIO()
    Image.fromarray(to_uint8(image)).save(buffer, format_name, **_SAVE_OPTIONS.get(format_name, {}), **options)
    file.write(buffer.getbuffer())


def write_png(file: BinaryIO, image: NDArray[np.floating], text: str | None, bits: int) -> None:
    """Write an image (H, W, 3), RGB, as PNG, with a record's JSON in a text chunk."""
    info = PngImagePlugin.PngInfo()
    info.add(b"sRGB", b"\0")  # says that the pixels are sRGB, perceptual intent
    if text is not None:
        info.add_itxt(RECORD_KEY, text)
    if bits == 8:
        write_with_pillow(file, image, "PNG", pnginfo=info)
        return
    # Pillow has no colour mode of 16 bits, and libpng as imagecodecs calls it no chunks but its own.
    encoded = memoryview(imagecodecs.png_encode(to_uint16(image)))
    file.write(encoded[:_PNG_HEAD])
    for kind, data, *_ in info.chunks:
        PngImagePlugin.putchunk(file, kind, data)
    file.write(encoded[_PNG_HEAD:])


def write_tiff(file: BinaryIO, image: NDArray[np.floating], text: str | None, bits: int, *, tiled: bool) -> None:
    """Write an image (H, W, 3), RGB, as TIFF or BigTIFF, with a record's JSON as its description."""
    uncompressed = image.size * bits // 8
    with tifffile.TiffWriter(file, bigtiff=uncompressed > CLASSIC_TIFF) as tiff:
        tiff.write(
            _tiles(image, bits) if tiled else DEPTHS[bits](image),
            shape=image.shape,
            dtype=f"uint{bits}",
            tile=(_TILE, _TILE) if tiled else None,
            photometric=tifffile.PHOTOMETRIC.RGB,
            compression=tifffile.COMPRESSION.ADOBE_DEFLATE,
            predictor=tifffile.PREDICTOR.HORIZONTAL,
            description=None if text is None else to_description(text),
            software="nst",
            metadata=None,
        )


def _tiles(image: NDArray[np.floating], bits: int) -> Iterator[NDArray[np.uint8 | np.uint16]]:
    """Yield an image's tiles row by row, so that no more than a row of them is held beside the image."""
    for y in range(0, image.shape[0], _TILE):
        row = DEPTHS[bits](image[y : y + _TILE])
        for x in range(0, image.shape[1], _TILE):
            yield row[:, x : x + _TILE]


def _rounded(image: NDArray[np.floating], dtype: type[Whole]) -> NDArray[Whole]:
    rounded = np.empty(image.shape, dtype)
    # Band by band: in float64, a large image as a whole would be many times its size on disk.
    for y in range(0, len(image), _BAND):
        band = np.clip(np.asarray(image[y : y + _BAND], np.float64), 0.0, 1.0)
        rounded[y : y + _BAND] = np.rint(band * np.iinfo(dtype).max)
    return rounded
