"""Pictures to pixels (H, W, 3), RGB, float64 in [0, 1]: from files, Pillow images and arrays."""

import hashlib
import io
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from nst_spec.errors import NstError, not_accepted, reason
from nst_spec.images import deep
from nst_spec.images.colour import to_srgb, to_srgb_deep
from nst_spec.messages import Say


@runtime_checkable
class Array(Protocol):
    """NumPy's arrays and what NumPy reads as one: tensors of PyTorch and TensorFlow, for example."""

    def __array__(self) -> NDArray[Any]: ...


Source = str | os.PathLike[str] | Image.Image | Array
"""What can be read as a picture: a path, a Pillow image or an array."""

LARGEST = 300_000_000
"""The pixels of the largest image that is decoded without `allow_large`; more may be a decompression bomb."""

_UNIT = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}
_ARRAYS = ("uint8, uint16 or floating point in [0, 1], of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)",)
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""What a TIFF and a BigTIFF begin with."""
_PILLOW_SETTINGS = threading.Lock()


@dataclass(frozen=True)
class Picture:
    """A picture as it was read.

    `pixels` are (H, W, 3), RGB, float64 in [0, 1]. `name` is the file's name without folders, or `image` or `array`.
    `sha256` is of the file's bytes; for a picture from memory, of its shape and pixels. `path` is where the file was
    found, for nobody but this process.
    """

    pixels: NDArray[np.float64]
    name: str
    sha256: str
    path: Path | None = None


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=3)


def read(source: Source, *, allow_large: bool = False, warn: Say = _warn) -> Picture:
    """Read a picture.

    Orientation (EXIF) is applied, an ICC profile is converted to sRGB (perceptual intent), what is transparent shows
    white, and of an animation, or a file of several images, the first one is taken (of a Pillow image, its current
    frame). Greyscale of 16 bits keeps them, and so does RGB in a PNG or TIFF file; other colour is read with the 8 that
    Pillow keeps, with a warning where Pillow tells that there were more. CMYK JPEGs are read as Adobe writes them
    (inverted), as Pillow does.

    Args:
        source: a path; a Pillow image; or an array, or what NumPy reads as one, uint8, uint16 or floating point in
            [0, 1], (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), the fourth channel being alpha. It is not changed.
        allow_large: whether to decode images of more than LARGEST pixels.
        warn: is called with one line for everything that was not quite right but could be read.

    Returns:
        The picture.

    Raises:
        NstError: with one line that names the source and why it cannot be read.
    """
    notes: list[str] = []
    if isinstance(source, Image.Image):
        where = name = "image"
        with decoding(where, allow_large, notes):
            picture = _in_memory(name, _pixels(source, None, where, notes))
    elif isinstance(source, str | os.PathLike):
        where, name = str(Path(source)), Path(source).name
        with decoding(where, allow_large, notes), _opened(source) as file:
            if not file.seek(0, os.SEEK_END):
                # A pipe is empty once it has been read.
                ways_on = "" if os.path.isfile(source) else "; what is read more than once must be a file"
                raise NstError(f"{where}: the file is empty{ways_on}")
            file.seek(0)
            # The file, not its path: Pillow memory-maps an uncompressed TIFF and mixes up the sides of a turned one.
            pixels = _pixels(_recognised(file, where), file, where, notes)
            file.seek(0)
            picture = Picture(pixels, name, hashlib.file_digest(file, "sha256").hexdigest(), Path(source))
    elif isinstance(source, Array):
        name = "array"
        picture = _in_memory(name, _from_array(_as_array(source), notes))
    else:
        raise not_accepted("picture", type(source).__name__, ["a path", "a Pillow image", "an array"])
    for note in notes:
        warn(f"{name}: {note}")
    return picture


@contextmanager
def _opened(source: str | os.PathLike[str]) -> Iterator[io.BufferedReader | io.BytesIO]:
    with open(source, "rb") as file:
        yield file if file.seekable() else io.BytesIO(file.read())  # of a pipe, all of it first


def _recognised(file: BinaryIO, where: str) -> Image.Image:
    try:
        return Image.open(file)
    except UnidentifiedImageError:
        file.seek(0)
        if file.read(4) in _TIFF:
            raise NstError(
                f"{where}: expected a TIFF of 8 or 16 bits a channel, received one of another kind, or a damaged one; "
                "another program may convert it"
            ) from None
        raise


def sha256_of_pixels(pixels: NDArray[np.float64]) -> str:
    """Return the SHA-256 of a picture's shape and pixels (H, W, 3): what a picture from memory is known by."""
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.astype("<f8").tobytes()).hexdigest()


# --- decoding ---------------------------------------------------------------------------------------------------------


@contextmanager
def decoding(where: str, allow_large: bool, notes: list[str]) -> Iterator[None]:
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
        except UnidentifiedImageError:
            raise NstError(f"{where}: is not an image of a known format") from None
        except Image.DecompressionBombError:
            raise NstError(
                f"{where}: has more than {LARGEST // 10**6} million pixels; --allow-large reads it all the same"
            ) from None
        except MemoryError:
            raise NstError(f"{where}: does not fit in memory") from None
        except Exception as error:
            # Of a directory Windows says that permission is denied.
            if isinstance(error, IsADirectoryError | PermissionError) and os.path.isdir(where):
                raise NstError(f"{where}: is a directory, not an image") from None
            # Damaged files make decoders fail in every way: SyntaxError, struct.error, IndexError, EOFError, ...
            trouble = "cannot be read" if isinstance(error, OSError) and error.strerror else "is truncated or damaged"
            raise NstError(f"{where}: {trouble}: {reason(error)}") from None
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    notes.extend(" ".join(str(warning.message).split()) for warning in caught)


def _pixels(image: Image.Image, file: BinaryIO | None, where: str, notes: list[str]) -> NDArray[np.float64]:
    """Return the pixels (H, W, 3) of an image, upright; `file` is what it was opened from, if it was just opened."""
    if not all(image.size):
        raise NstError(f"{where}: {image.width} x {image.height} px: it has no pixels")
    if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > 2 * Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError  # an image from memory has not passed Image.open
    if getattr(image, "is_animated", False):
        notes.append(f"is animated, or holds several images; number {image.tell() + 1} is used")
    if file is not None and deep.has_16_bits(image):
        orientation = _orientation(image, notes)  # asked first, since Pillow may read the file for it
        samples = deep.samples(image, file)
        has_alpha = samples.shape[2] in (2, 4)
        colour = samples[..., :-1] if has_alpha else samples
        pixels = to_srgb_deep(colour, image.info.get("icc_profile"), notes)
        return _turned(_over_white(pixels, samples[..., -1:], notes) if has_alpha else pixels, orientation)
    if not image.mode.startswith("I") and deep.loses_bits(image):
        notes.append("16 bits a channel are read as 8")
    levels = _grey_levels(image)
    image.load()
    return _turned(_rgb(_with_transparency_of(levels, image), where, notes), _orientation(image, notes))


def _grey_levels(image: Image.Image) -> int:
    """Return how many greys an image of Pillow's that is not decoded yet has: 4 or 16 in a PNG of so few, else 256."""
    raw = {str(tile[3]) for tile in getattr(image, "tile", [])} if image.format == "PNG" else set()
    return 4 if "L;2" in raw else 16 if "L;4" in raw else 256


def _with_transparency_of(levels: int, image: Image.Image) -> Image.Image:
    """Return a decoded image, its transparent grey no longer one of so many levels but of 256, as its pixels are."""
    transparent = image.info.get("transparency")
    if levels == 256 or not isinstance(transparent, int):
        return image
    image = image.copy()
    image.info["transparency"] = transparent * 255 // (levels - 1)
    return image


def _orientation(image: Image.Image, notes: list[str]) -> int:
    """Return the EXIF orientation that is still to be applied; of a decoded TIFF, Pillow has applied it."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception as error:  # EXIF is parsed lazily, and may be as damaged as anything
        notes.append(f"its EXIF data is ignored: {reason(error)}")
        return 1


def _turned(pixels: NDArray[np.float64], orientation: int) -> NDArray[np.float64]:
    """Return stored pixels (H, W, 3) as an EXIF orientation, 1 to 8, shows them."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return np.ascontiguousarray(pixels[rows, columns])


def _rgb(image: Image.Image, where: str, notes: list[str]) -> NDArray[np.float64]:
    """Return the pixels (H, W, 3) of a decoded image of any mode: sRGB, over white."""
    profile = image.info.get("icc_profile")
    if image.mode == "F" or image.mode.startswith("I"):
        grey = _deep_grey(image, where, notes)
        return to_srgb_deep(grey[..., None], profile, notes)
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
    pixels = np.asarray(to_srgb(colour, profile, notes)) / 255.0
    return pixels if rgba is None else _over_white(pixels, np.asarray(rgba.getchannel("A"))[..., None] / 255.0, notes)


def _deep_grey(image: Image.Image, where: str, notes: list[str]) -> NDArray[np.float64]:
    """Return the pixels (H, W) of a greyscale image of more than 8 bits: 0 .. 65535, or floating point in [0, 1]."""
    values = np.asarray(image)
    top = 1.0 if image.mode == "F" else 65535.0
    grey = values.astype(np.float64) / top
    if not (grey.min() >= 0.0 and grey.max() <= 1.0):  # so written, NaN is refused too
        raise NstError(f"{where}: its pixels go from {values.min()} to {values.max()}; expected 0 to {top:g}")
    transparent = image.info.get("transparency")
    return grey if transparent is None else _over_white(grey, (values != transparent).astype(np.float64), notes)


def _as_array(source: Array) -> NDArray[Any]:
    try:
        return np.asarray(source)
    except Exception as error:  # whatever its library raises: of PyTorch, a tensor on a GPU is a TypeError
        raise NstError(f"array: NumPy cannot read the {type(source).__name__}: {reason(error)}") from None


def _from_array(array: NDArray[Any], notes: list[str]) -> NDArray[np.float64]:
    floating = np.issubdtype(array.dtype, np.floating)
    unit = 1.0 if floating else _UNIT.get(array.dtype.newbyteorder("="))
    if unit is None or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))):
        error = not_accepted("array", f"{array.dtype} of shape {array.shape}", _ARRAYS)
        raise NstError(f"{error}{_way_on(array.shape)}")
    if array.size == 0:
        raise NstError(f"array: {array.shape[1]} x {array.shape[0]} px: it has no pixels")
    pixels: NDArray[np.float64] = array.astype(np.float64) / unit
    if not (pixels.min() >= 0.0 and pixels.max() <= 1.0):  # so written, NaN is refused too
        raise not_accepted("array", f"{array.dtype} from {pixels.min()} to {pixels.max()}", _ARRAYS)
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
    return pixels if pixels.shape[2] == 3 else _over_white(pixels[..., :3], pixels[..., 3:], notes)


def _way_on(shape: tuple[int, ...]) -> str:
    if len(shape) == 4:
        return "; of a batch, one image at a time"
    is_channels_first = len(shape) == 3 and shape[0] in (1, 3, 4) and shape[2] not in (1, 3, 4)
    return "; numpy.moveaxis(numpy.asarray(array), 0, -1) puts channels last" if is_channels_first else ""


def _over_white(pixels: NDArray[np.float64], alpha: NDArray[np.float64], notes: list[str]) -> NDArray[np.float64]:
    if alpha.min() < 1.0:
        notes.append("is transparent in parts, which show white")
    return pixels * alpha + (1.0 - alpha)


def _in_memory(name: str, pixels: NDArray[np.float64]) -> Picture:
    return Picture(pixels, name, sha256_of_pixels(pixels))
