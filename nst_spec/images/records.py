"""The record of its run that a picture carries: in a PNG and a TIFF, and beside any other picture as `OUT.jpg.json`."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, TiffImagePlugin

from nst_spec.errors import NstError, reason
from nst_spec.files import in_utf8
from nst_spec.images.reading import decoding

RECORD_KEY = "nst"
"""The keyword of the PNG text chunk that holds the record, its key in a TIFF's image description, and the key of every
record beside a picture: cameras and photo services put JSON of their own there."""


def sidecar(path: Path) -> Path:
    """Return the name of the file beside a picture that holds its record."""
    return path.with_name(path.name + ".json")


def to_json(record: Mapping[str, Any]) -> str:
    """Return a record as JSON; it may hold NumPy numbers and arrays."""
    text = json.dumps(record, sort_keys=True, ensure_ascii=False, default=lambda value: value.tolist())
    return in_utf8(text)


def to_description(text: str) -> str:
    """Return a record's JSON as a TIFF's image description: JSON too, in the ASCII that TIFF asks for."""
    return json.dumps({RECORD_KEY: json.loads(text)})


def read_record(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the record that `write` left in a picture or beside it.

    Args:
        path: the picture.

    Returns:
        The record.

    Raises:
        NstError: the picture cannot be read, or it has no record.
    """
    target = Path(path)
    # Opening decodes no pixels, so no size is too large.
    with decoding(str(target), True, []), open(target, "rb") as file:
        image = Image.open(file)
        text, size = _text(image), image.size
    beside = sidecar(target)
    try:
        record = json.loads(beside.read_text("utf-8") if text is None else text, parse_constant=_refused)
    except FileNotFoundError:
        raise NstError(f"{target}: carries no record of a run, and there is no {beside.name} beside it") from None
    except (OSError, ValueError, RecursionError) as error:
        raise NstError(f"{target}: its record cannot be read: {reason(error)}") from None
    if not isinstance(record, dict):
        raise NstError(f"{target}: its record cannot be read: expected a JSON object")
    if text is None and RECORD_KEY not in record:
        raise NstError(f"{target}: carries no record of a run, and {beside.name} beside it is none")
    recorded = record.get("width", size[0]), record.get("height", size[1])
    if recorded != size:
        made, has = (f"{width} x {height} px" for width, height in (recorded, size))
        raise NstError(f"{target}: its record is another picture's, which had {made}; this one has {has}")
    return record


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no number that JSON has")


def _text(image: Image.Image) -> str | None:
    """Return the JSON of the record in an opened image, if there is one."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return image.info.get(RECORD_KEY)
    description = str(image.tag_v2.get(TiffImagePlugin.IMAGEDESCRIPTION, ""))
    opening = f'{{"{RECORD_KEY}": '
    return description[len(opening) : -1] if description.startswith(opening) else None
