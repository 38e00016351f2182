"""Pictures: from files, Pillow images and arrays to pixels (H, W, 3), RGB, float64 in [0, 1], and back to files.

Also the one resampler, and the record of a run that every written picture carries.
"""

import hashlib
import io
import json
import os
import tempfile
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, PngImagePlugin, UnidentifiedImageError

from nst_spec.errors import NstError, not_accepted

Source = str | os.PathLike[str] | Image.Image | NDArray[Any]
"""What can be read as a picture: a path, a Pillow image or an array."""

LARGEST = 300_000_000
"""The pixels of the largest image that is decoded without `allow_large`; more may be a decompression bomb."""

RECORD_KEY = "nst"
"""The keyword of the PNG text chunk that holds the record."""

_UNIT = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}
_ARRAYS = ("uint8, uint16 or floating point in [0, 1], of shape (H, W), (H, W, 3) or (H, W, 4)",)
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
    "TIFF": {"compression": "tiff_adobe_deflate"},
}
_PILLOW_SETTINGS = threading.Lock()


@dataclass(frozen=True)
class Picture:
    """A picture as it was read.

    `pixels` are (H, W, 3), RGB, float64 in [0, 1]. `name` is the file's name without folders, or `image` or `array`.
    `sha256` is of the file's bytes; for a picture from memory, of its shape and pixels.
    """

    pixels: NDArray[np.float64]
    name: str
    sha256: str


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=3)


def read(source: Source, *, allow_large: bool = False, warn: Callable[[str], None] = _warn) -> Picture:
    """Read a picture.

    Orientation (EXIF) is applied, an ICC profile is converted to sRGB (perceptual intent), what is transparent shows
    white, and of an animation, or a file of several images, the first one is taken (of a Pillow image, its current
    frame). Greyscale of 16 bits keeps them; colour of 16 bits, and greyscale of 16 bits with a profile, is read with
    the 8 that Pillow keeps, with a warning. CMYK JPEGs are read as Adobe writes them (inverted), as Pillow does.

    Args:
        source: a path; a Pillow image; or an array, uint8, uint16 or floating point in [0, 1], (H, W), (H, W, 3) or
            (H, W, 4), the fourth channel being alpha. It is not changed.
        allow_large: whether to decode images of more than LARGEST pixels.
        warn: is called with one line for everything that was not quite right but could be read.

    Returns:
        The picture.

    Raises:
        NstError: with one line that names the source and why it cannot be read.
    """
    if isinstance(source, np.ndarray):
        return _in_memory("array", _from_array(source))
    notes: list[str] = []
    if isinstance(source, Image.Image):
        where = name = "image"
        with _decoding(where, allow_large, notes):
            picture = _in_memory(name, _rgb(_upright(source, where, notes), where, notes))
    elif isinstance(source, str | os.PathLike):
        where, name = str(Path(source)), Path(source).name
        with _decoding(where, allow_large, notes), open(source, "rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise NstError(f"{where}: the file is empty")
            # The file, not its path: Pillow memory-maps an uncompressed TIFF and mixes up the sides of a turned one.
            pixels = _rgb(_upright(Image.open(file), where, notes), where, notes)
            file.seek(0)
            picture = Picture(pixels, name, hashlib.file_digest(file, "sha256").hexdigest())
    else:
        raise not_accepted("picture", type(source).__name__, ["a path", "a Pillow image", "a NumPy array"])
    for note in notes:
        warn(f"{name}: {note}")
    return picture


def sha256_of_pixels(pixels: NDArray[np.float64]) -> str:
    """Return the SHA-256 of a picture's shape and pixels (H, W, 3): what a picture from memory is known by."""
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.astype("<f8").tobytes()).hexdigest()


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


def to_uint8(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return an image clipped to [0, 1] and rounded, half to even, to 0 .. 255."""
    return np.rint(np.clip(np.asarray(image, np.float64), 0.0, 1.0) * 255.0).astype(np.uint8)


def check_writable(path: str | os.PathLike[str], *, force: bool) -> None:
    """Check, before a long run, that a picture can be written at a path.

    Args:
        path: the picture to be.
        force: whether a file that is there already may be overwritten.

    Raises:
        NstError: with one line that names the path and what stands in the way.
    """
    target = Path(path)
    _format(target)
    folder = target.parent
    if not os.path.exists(folder):
        raise NstError(f"{target}: the folder {folder} does not exist")
    if not os.path.isdir(folder):
        raise NstError(f"{target}: {folder} is not a folder")
    try:
        # Permissions tell only part of it: a file is made, and is gone when it is closed.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise NstError(f"{target}: the folder {folder} cannot be written to: {_reason(error)}") from None
    for file in (target, _sidecar(target)):
        try:
            os.lstat(file)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise NstError(f"{file}: cannot be written: {_reason(error)}") from None
        if file.is_dir():
            raise NstError(f"{file}: is a directory")
        if not force:
            raise NstError(f"{file}: exists already; --force (in Python, force=True) overwrites it")


def write(
    path: str | os.PathLike[str],
    image: NDArray[np.floating],
    record: Mapping[str, Any] | None = None,
    *,
    force: bool = False,
) -> None:
    """Write a picture as 8-bit sRGB, and the record of its run.

    The record goes into a PNG, and beside any other picture as `OUT.jpg.json`. Each file appears whole or not at all.
    JPEG is written at quality 95 without chroma subsampling, WebP losslessly.

    Args:
        path: the picture; its suffix says the format.
        image: (H, W, 3), RGB; it is clipped to [0, 1].
        record: what JSON can hold, NumPy numbers and arrays included; None writes no record.
        force: whether files that are there already may be overwritten.

    Raises:
        NstError: with one line that names the path and why it could not be written.
    """
    target = Path(path)
    check_writable(target, force=force)
    if not np.isfinite(image).all():
        raise NstError(f"{target}: not written: the image holds values that are not finite")
    files: dict[Path, bytes] = {}
    text = None if record is None else _to_json(record)
    # The sidecar first, so that nobody meets a finished picture whose record is still to come.
    if text is not None and _format(target) != "PNG":
        files[_sidecar(target)] = text.encode()
    try:
        files[target] = _encoded(image, _format(target), text)
        _publish(files, force)
    except (OSError, ValueError, MemoryError) as error:
        raise NstError(f"{target}: cannot be written: {_reason(error)}") from None


def read_record(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the record that `write` left in a PNG or beside another picture.

    Args:
        path: the picture.

    Returns:
        The record.

    Raises:
        NstError: the picture cannot be read, or it has no record.
    """
    target = Path(path)
    # Opening decodes no pixels, so no size is too large.
    with _decoding(str(target), True, []), open(target, "rb") as file:
        image = Image.open(file)
        text, size = image.info.get(RECORD_KEY), image.size
    sidecar = _sidecar(target)
    try:
        if text is None:
            text = sidecar.read_text(encoding="utf-8")
        record = json.loads(text)
    except FileNotFoundError:
        raise NstError(f"{target}: carries no record of a run, and there is no {sidecar.name} beside it") from None
    except (OSError, ValueError, RecursionError) as error:
        raise NstError(f"{target}: its record cannot be read: {_reason(error)}") from None
    if not isinstance(record, dict):
        raise NstError(f"{target}: its record cannot be read: expected a JSON object")
    recorded = record.get("width", size[0]), record.get("height", size[1])
    if recorded != size:
        made, has = (f"{width} x {height} px" for width, height in (recorded, size))
        raise NstError(f"{target}: its record is another picture's, which had {made}; this one has {has}")
    return record


# --- decoding ---------------------------------------------------------------------------------------------------------


@contextmanager
def _decoding(where: str, allow_large: bool, notes: list[str]) -> Iterator[None]:
    """Let Pillow decode under our limit of pixels; its warnings become notes, its errors one line about `where`."""
    # Pillow's limit is a global that each format asks, also for images within images, so it is borrowed: under a lock,
    # since pictures may be read in threads. Pillow refuses what has more than twice its limit and warns above it once.
    with _PILLOW_SETTINGS, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None if allow_large else LARGEST // 2
        try:
            yield
        except NstError:
            raise
        except FileNotFoundError:
            raise NstError(f"{where}: no such file") from None
        except IsADirectoryError:
            raise NstError(f"{where}: is a directory, not an image") from None
        except UnidentifiedImageError:
            raise NstError(f"{where}: is not an image of a known format") from None
        except Image.DecompressionBombError:
            raise NstError(
                f"{where}: has more than {LARGEST // 10**6} million pixels; --allow-large reads it all the same"
            ) from None
        except MemoryError:
            raise NstError(f"{where}: does not fit in memory") from None
        except Exception as error:
            # Damaged files make decoders fail in every way: SyntaxError, struct.error, IndexError, EOFError, ...
            trouble = "cannot be read" if isinstance(error, OSError) and error.strerror else "is truncated or damaged"
            raise NstError(f"{where}: {trouble}: {_reason(error)}") from None
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    notes.extend(" ".join(str(warning.message).split()) for warning in caught)


def _upright(image: Image.Image, where: str, notes: list[str]) -> Image.Image:
    """Return a decoded copy of an image, turned as its EXIF orientation says."""
    if not all(image.size):
        raise NstError(f"{where}: {image.width} x {image.height} px: it has no pixels")
    if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > 2 * Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError  # an image from memory has not passed Image.open
    if getattr(image, "is_animated", False):
        notes.append(f"is animated, or holds several images; number {image.tell() + 1} is used")
    # Pillow has no colour mode of 16 bits and keeps the high byte; only the tiles to decode still tell.
    if not image.mode.startswith("I") and any(";16" in str(tile[3]) for tile in getattr(image, "tile", [])):
        notes.append(_REDUCED)
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception as error:  # EXIF is parsed lazily, and may be as damaged as anything
        notes.append(f"its EXIF data is ignored: {_reason(error)}")
        return image.copy()


_REDUCED = "16 bits a channel are read as 8"


def _rgb(image: Image.Image, where: str, notes: list[str]) -> NDArray[np.float64]:
    """Return the pixels (H, W, 3) of a decoded image of any mode: sRGB, over white."""
    profile = image.info.get("icc_profile")
    if image.mode == "F" or image.mode.startswith("I"):
        grey = _deep_grey(image, where)
        if not profile:
            return np.repeat(grey[..., None], 3, axis=2)
        notes.append(_REDUCED)  # Pillow converts profiles in 8 bits only
        image = Image.fromarray(to_uint8(grey))
    if image.mode in ("RGBa", "La"):  # premultiplied alpha
        image = image.convert(image.mode.upper())
    rgba = image.convert("RGBA") if image.has_transparency_data else None
    if image.mode in ("1", "L", "LA"):
        colour = image.convert("L")
    elif image.mode in ("CMYK", "LAB"):
        colour = image
    else:
        colour = (image if rgba is None else rgba).convert("RGB")
    # The profile converts colours without alpha: they are not blended yet.
    pixels = np.asarray(_srgb(colour, profile, notes)) / 255.0
    return pixels if rgba is None else _over_white(pixels, np.asarray(rgba.getchannel("A"))[..., None] / 255.0)


def _deep_grey(image: Image.Image, where: str) -> NDArray[np.float64]:
    """Return the pixels (H, W) of a greyscale image of more than 8 bits: 0 .. 65535, or floating point in [0, 1]."""
    values = np.asarray(image)
    top = 1.0 if image.mode == "F" else 65535.0
    grey = values.astype(np.float64) / top
    if not (grey.min() >= 0.0 and grey.max() <= 1.0):  # so written, NaN is refused too
        raise NstError(f"{where}: its pixels go from {values.min()} to {values.max()}; expected 0 to {top:g}")
    transparent = image.info.get("transparency")
    return grey if transparent is None else np.where(values == transparent, 1.0, grey)


def _srgb(image: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
    """Convert an image of mode L, RGB, CMYK or LAB to RGB, by its profile if it has one that makes sense."""
    try:
        if image.mode == "LAB":
            return _converted(image, ImageCms.createProfile("LAB"))
        if profile:
            opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            # Greyscale is often saved with the RGB profile of the picture that it was made from.
            if image.mode == "L" and opened.profile.xcolor_space.strip() == "RGB":
                image = image.convert("RGB")
            return _converted(image, opened)
    except (ImageCms.PyCMSError, OSError, ImportError) as error:
        if image.mode == "LAB":
            raise
        notes.append(f"its ICC profile is ignored: {_reason(error)}")
    return image.convert("RGB")


def _converted(image: Image.Image, profile: Any) -> Image.Image:
    transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), image.mode, "RGB")
    return transform.apply(image)


def _from_array(array: NDArray[Any]) -> NDArray[np.float64]:
    floating = np.issubdtype(array.dtype, np.floating)
    unit = 1.0 if floating else _UNIT.get(array.dtype.newbyteorder("="))
    if unit is None or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise not_accepted("array", f"{array.dtype} of shape {array.shape}", _ARRAYS)
    if array.size == 0:
        raise NstError(f"array: {array.shape[1]} x {array.shape[0]} px: it has no pixels")
    pixels: NDArray[np.float64] = array.astype(np.float64) / unit
    if not (pixels.min() >= 0.0 and pixels.max() <= 1.0):  # so written, NaN is refused too
        raise not_accepted("array", f"{array.dtype} from {pixels.min()} to {pixels.max()}", _ARRAYS)
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=2)
    return pixels if pixels.shape[2] == 3 else _over_white(pixels[..., :3], pixels[..., 3:])


def _over_white(pixels: NDArray[np.float64], alpha: NDArray[np.float64]) -> NDArray[np.float64]:
    return pixels * alpha + (1.0 - alpha)


def _in_memory(name: str, pixels: NDArray[np.float64]) -> Picture:
    return Picture(pixels, name, sha256_of_pixels(pixels))


# --- encoding ---------------------------------------------------------------------------------------------------------


def _format(path: Path) -> str:
    """Return Pillow's name for the format that the suffix stands for, if this Pillow can write it."""
    known = Image.registered_extensions()
    accepted = [suffix for suffix in _SUFFIXES if known.get(suffix) in Image.SAVE]
    if path.suffix.lower() not in accepted:
        raise not_accepted(f"{path}: suffix", path.suffix, accepted)
    return known[path.suffix.lower()]


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _to_json(record: Mapping[str, Any]) -> str:
    text = json.dumps(record, sort_keys=True, ensure_ascii=False, default=lambda value: value.tolist())
    # A file name that is not UTF-8 reaches Python as lone surrogates; as \udcxx they are good JSON again.
    return text.encode("utf-8", "backslashreplace").decode()


def _encoded(image: NDArray[np.floating], format_name: str, text: str | None) -> bytes:
    options = dict(_SAVE_OPTIONS.get(format_name, {}))
    if format_name == "PNG":
        info = options["pnginfo"] = PngImagePlugin.PngInfo()
        info.add(b"sRGB", b"\0")  # says that the pixels are sRGB, perceptual intent
        if text is not None:
            info.add_itxt(RECORD_KEY, text)
    buffer = io.BytesIO()
    Image.fromarray(to_uint8(image)).save(buffer, format_name, **options)
    return buffer.getvalue()


def _publish(files: Mapping[Path, bytes], force: bool) -> None:
    """Write files so that each appears whole, and none of them if one cannot be written."""
    # open() makes the temporary file, not tempfile: its permissions then follow the umask.
    staged = {path: path.with_name(f".nst-{uuid.uuid4().hex}.tmp") for path in files}
    published: list[Path] = []
    try:
        for path, data in files.items():
            with open(staged[path], "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())  # a full network disk may say so only now
        for path in files:
            _move(staged[path], path, force)
            published.append(path)
    except BaseException:
        if not force:  # then they are new, and this call's own
            for path in published:
                path.unlink(missing_ok=True)
        raise
    finally:
        for temporary in staged.values():
            temporary.unlink(missing_ok=True)


def _move(temporary: Path, path: Path, force: bool) -> None:
    if not force:
        try:
            os.link(temporary, path)  # unlike a rename, it never replaces a file that has appeared meanwhile
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            if os.path.lexists(path):
                raise FileExistsError("the file has appeared meanwhile") from None
        else:
            return
    os.replace(temporary, path)


def _reason(error: BaseException) -> str:
    strerror = error.strerror if isinstance(error, OSError) else None
    return " ".join((strerror or str(error) or type(error).__name__).split())
