"""Pictures written: where, in which format, with what beside them."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nst_spec.errors import NstError, not_accepted, reason
from nst_spec.files import check_folder, check_free, publish
from nst_spec.images import encoding
from nst_spec.images.records import sidecar, to_json
from nst_spec.images.resampling import resample

LARGE = 100_000_000
"""The pixels above which a TIFF is written in tiles, with a preview beside it."""

PREVIEW_EDGE = 2048
"""The long edge of a preview, in pixels."""

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
_DEEP_FORMATS = ("PNG", "TIFF")
_LONGEST = {"WEBP": 16383, "JPEG": 65500}
"""The most pixels that a side may have, in the formats (libwebp's, libjpeg's) that have such a limit."""
_CARRIES_RECORD = ("PNG", "TIFF")


def most_bits(path: str | os.PathLike[str]) -> int:
    """Return the most bits a channel that a picture's format, known by the suffix, can have: 8 or 16."""
    return 16 if _format(Path(path)) in _DEEP_FORMATS else 8


def preview_path(path: str | os.PathLike[str], width: int, height: int) -> Path | None:
    """Return the name of the preview that `write` makes beside a picture of a size, or None if it makes none."""
    large = _format(Path(path)) == "TIFF" and width * height > LARGE
    return _preview(Path(path)) if large else None


def check_fits(path: str | os.PathLike[str], width: int, height: int, *, force: bool) -> None:
    """Check, once its size is known, what `check_writable` leaves open of a picture.

    Raises NstError where its format, known by the suffix, cannot hold so many pixels, or where its preview may not take
    the place of a file that is there.
    """
    format_name = _format(Path(path))
    longest = _LONGEST.get(format_name, max(width, height))
    if max(width, height) > longest:
        raise NstError(
            f"{path}: {width} x {height} px, but {format_name} takes {longest} px a side; PNG and TIFF take more"
        )
    if preview := preview_path(path, width, height):
        check_free(preview, force)


def check_writable(path: str | os.PathLike[str], *, bits: int = 8, force: bool) -> None:
    """Check, before a long run, that a picture can be written at a path.

    Args:
        path: the picture to be.
        bits: the bits a channel that it is to have.
        force: whether files that are there already may be overwritten.

    Raises:
        NstError: with one line that names the path and what stands in the way.
    """
    target = Path(path)
    if bits > most_bits(target) or bits not in encoding.DEPTHS:
        accepted = [depth for depth in encoding.DEPTHS if depth <= most_bits(target)]
        raise not_accepted(f"{target}: bits a channel (16 need a PNG or TIFF)", bits, accepted)
    check_folder(target)
    check_free(target, force)
    if _format(target) not in _CARRIES_RECORD:
        check_free(sidecar(target), force)


def write(
    path: str | os.PathLike[str],
    image: NDArray[np.floating],
    record: Mapping[str, Any] | None = None,
    *,
    bits: int = 8,
    force: bool = False,
) -> None:
    """Write a picture as sRGB, and the record of its run.

    The record goes into a PNG or TIFF, and beside any other picture as `OUT.jpg.json`. Each file appears whole or not
    at all. JPEG is written at quality 95 without chroma subsampling, WebP losslessly, TIFF with deflate compression;
    a TIFF of more than LARGE pixels in tiles, as BigTIFF where it may pass 4 GiB, with an 8-bit preview beside it
    (`preview_path`).

    Args:
        path: the picture; its suffix says the format.
        image: (H, W, 3), RGB; it is clipped to [0, 1].
        record: what JSON can hold, NumPy numbers and arrays included; None writes no record.
        bits: the bits a channel: 8, or in a PNG or TIFF 16.
        force: whether files that are there already may be overwritten.

    Raises:
        NstError: with one line that names the path and why it could not be written.
    """
    target = Path(path)
    check_writable(target, bits=bits, force=force)
    if not (np.isfinite(image.min()) and np.isfinite(image.max())):
        raise NstError(f"{target}: not written: the image holds values that are not finite")
    format_name = _format(target)
    height, width = image.shape[:2]
    check_fits(target, width, height, force=force)
    text = None if record is None else to_json(record)
    # The picture last, so that nobody meets a finished one whose record is still to come.
    files: dict[Path, Callable[[BinaryIO], object]] = {}
    if text is not None and format_name not in _CARRIES_RECORD:
        files[sidecar(target)] = lambda file: file.write(text.encode())
    if preview := preview_path(target, width, height):
        files[preview] = lambda file: encoding.write_with_pillow(file, _reduced(image), "JPEG")
    if format_name == "TIFF":
        files[target] = lambda file: encoding.write_tiff(file, image, text, bits, tiled=preview is not None)
    elif format_name == "PNG":
        files[target] = lambda file: encoding.write_png(file, image, text, bits)
    else:
        files[target] = lambda file: encoding.write_with_pillow(file, image, format_name)
    try:
        publish(files, force)
    except (OSError, ValueError, MemoryError, RuntimeError) as error:
        raise NstError(f"{target}: cannot be written: {reason(error)}") from None


def _format(path: Path) -> str:
    """Return Pillow's name for the format that the suffix stands for, if this Pillow can write it."""
    known = Image.registered_extensions()
    accepted = [suffix for suffix in _SUFFIXES if known.get(suffix) in Image.SAVE]
    if path.suffix.lower() not in accepted:
        raise not_accepted(f"{path}: suffix", path.suffix, accepted)
    return known[path.suffix.lower()]


def _preview(path: Path) -> Path:
    return path.with_name(f"{path.stem}-preview.jpg")


def _reduced(image: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return a large image (H, W, 3) with the long edge of a preview."""
    height, width = image.shape[:2]
    scale = PREVIEW_EDGE / max(height, width)
    # Averaged in blocks first, a row of them at a time: the resampler would copy the whole image.
    block = max(1, min(height, width, int(1 / scale)))
    columns = width // block
    rows = [
        image[y : y + block, : columns * block].reshape(block, columns, block, 3).mean(axis=(0, 2))
        for y in range(0, height - block + 1, block)
    ]
    return resample(np.stack(rows), max(1, round(width * scale)), max(1, round(height * scale)))
