"""Files that appear whole or not at all, and their names."""

import codecs
import contextlib
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from nst_spec.errors import NstError, reason

Data = TypeVar("Data")


def in_utf8(data: Data) -> Data:
    """Return text, or a dict with all its texts, with escapes for what has no UTF-8.

    Bytes of a file's name that are none are surrogates in Python.
    """
    if isinstance(data, dict):
        return cast(Data, {key: in_utf8(value) for key, value in data.items()})
    return cast(Data, data.encode("utf-8", "backslashreplace").decode()) if isinstance(data, str) else data


def read_text(path: Path) -> str:
    """Return a file's text, in UTF-8, or in UTF-16 with the mark that Windows' PowerShell writes.

    Raises OSError where it cannot be read, and UnicodeDecodeError.
    """
    data = path.read_bytes()
    return data.decode("utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")


def check_folder(path: Path) -> None:
    """Raise NstError, before the work, where the folder that a file is to be written into cannot take it."""
    folder = path.parent
    if not os.path.exists(folder):
        raise NstError(f"{path}: the folder {folder} does not exist")
    if not os.path.isdir(folder):
        raise NstError(f"{path}: {folder} is not a folder")
    trial = _beside(path)
    try:
        # Permissions tell only part of it. Windows lets `tempfile` try on for ever where they are missing.
        with open(trial, "xb"):
            pass
        trial.unlink()
    except OSError as error:
        raise NstError(f"{path}: the folder {folder} cannot be written to: {reason(error)}") from None


def check_free(path: Path, force: bool) -> None:
    """Raise NstError, before the work, where a file would replace a folder, or without `force` another file."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):  # what is said of folders is said elsewhere
        return
    except (OSError, ValueError) as error:
        raise NstError(f"{path}: cannot be written: {reason(error)}") from None
    if path.is_dir():
        raise NstError(f"{path}: is a directory")
    if not force:
        raise exists_already(path)


def exists_already(path: Path) -> NstError:
    """Return the error about what may not be replaced."""
    return NstError(f"{path}: exists already; --force (in Python, force=True) overwrites it")


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; what lies there at the end takes its place, and after an error nothing.

    Raises OSError where it cannot be moved.
    """
    part = _beside(path)
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def publish(files: Mapping[Path, Callable[[BinaryIO], object]], force: bool) -> None:
    """Write files so that each appears whole, and none of them if one cannot be written.

    Args:
        files: for each path, in the order of their appearance, what writes its bytes into an open file.
        force: whether files that are there already may be overwritten.
    """
    # open() makes the temporary file, not tempfile: its permissions then follow the umask.
    staged = {path: _beside(path) for path in files}
    published: list[Path] = []
    try:
        for path, write_into in files.items():
            with open(staged[path], "xb") as file:
                write_into(file)
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


def _beside(path: Path) -> Path:
    # Not made of the file's own name, which may be as long as a name can be.
    return path.with_name(f".nst-{uuid.uuid4().hex}.tmp")


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
