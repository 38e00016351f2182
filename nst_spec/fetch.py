"""The cache of downloaded files: where it is, how a file gets into it whole, and how it is known to be unchanged."""

import contextlib
import os
import queue
import sys
import threading
from pathlib import Path

import pooch
import requests

from nst_spec import files
from nst_spec.errors import NstError, reason
from nst_spec.messages import Say

REACHABLE_WITHIN = 4.0
"""Seconds in which a host has to give any answer at all; whoever waits is told within 5."""
CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 30.0
"""Seconds without a single byte after which a download has stalled."""
CHUNK = 2**16


class FetchError(NstError):
    """A file that could not be had from the network."""


def cache_directory() -> Path:
    """Return the folder that holds downloads: NST_CACHE_DIR if set, else the platform's place for caches."""
    chosen = os.environ.get("NST_CACHE_DIR")
    return Path(os.path.expanduser(chosen)) if chosen else Path(pooch.os_cache("nst"))


def is_offline() -> bool:
    """Return whether NST_OFFLINE says that the network must not be tried."""
    return os.environ.get("NST_OFFLINE", "").lower() not in ("", "0", "false", "no", "off")


def matches(path: Path, published: str) -> bool:
    """Return whether a file has the hash its publisher vouches for: "md5:...", "sha256:..." or "sha256-prefix:..."."""
    kind, _, expected = published.partition(":")
    return bool(pooch.file_hash(path, alg=kind.removesuffix("-prefix")).startswith(expected))


def check_published(path: Path, published: str, ways_on: str = "") -> None:
    """Raise NstError where a file has not the hash its publisher vouches for, with the ways on at the message's end."""
    if not matches(path, published):
        raise NstError(
            f"{path}: does not have its publisher's hash, {published} (SHA-256 {sha256_of_file(path)}){ways_on}"
        )


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal: what `sha256sum` prints."""
    return str(pooch.file_hash(path))


def unreachable(url: str) -> str | None:
    """Return why no answer comes from `url`, or None if one comes, be it a refusal; within REACHABLE_WITHIN seconds.

    Looking up a name has no time limit of its own, so a thread asks and is left behind if need be.
    """
    answers: queue.Queue[str | None] = queue.Queue()

    def ask() -> None:
        try:
            requests.head(url, timeout=REACHABLE_WITHIN, allow_redirects=True).close()
        except Exception as error:  # handed over, whatever it is: nobody would see it raised in this thread
            answers.put(_reason(error))
        else:
            answers.put(None)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return answers.get(timeout=REACHABLE_WITHIN)
    except queue.Empty:
        return f"no answer within {REACHABLE_WITHIN:g} seconds"


def download(url: str, target: Path, size: int, published: str, say: Say) -> None:
    """Download a file, check its size and its publisher's hash, and only then give it its name; pin its SHA-256.

    Two processes may do so at once: each writes a file of its own, and the last to finish gives it the name.

    Args:
        url: where the file is.
        target: its place in the cache; the folder is made if there is none.
        size: the bytes it has to have.
        published: what `matches` takes.
        say: told what is fetched, how large it is and from where, once the host has answered.

    Raises:
        FetchError: what went wrong; neither `target` nor any part of a file is left behind.
    """
    if silence := unreachable(url):
        raise FetchError(f"the host cannot be reached: {silence}")
    say(f"fetching {size / 1e6:.0f} MB from {url} to {target}")
    fetcher = pooch.HTTPDownloader(
        progressbar=sys.stderr is not None and sys.stderr.isatty(),
        chunk_size=CHUNK,
        timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
        headers={"Accept-Encoding": "identity"},  # the bytes as they are: `size` and the hash are theirs
    )
    got = 0
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with files.whole(target) as part:
            try:
                fetcher(url, str(part), None)
            finally:
                got = part.stat().st_size if part.exists() else 0
            if got != size:
                raise FetchError(f"received {got:,} bytes, expected {size:,}")
            if not matches(part, published):
                raise FetchError(f"damaged on the way or replaced: its hash is not the publisher's, {published}")
        _pin(target, sha256_of_file(target))
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; ValueError: a header that is no number
        raise FetchError(_reason(error) + (f" (after {got:,} of {size:,} bytes)" if got else "")) from error


def check(path: Path, published: str) -> str:
    """Return the SHA-256 of a file in the cache, after comparing it with the one pinned when it was first used.

    A file that was put there by hand has no pin yet: its publisher's hash is checked, and the pin made.

    Raises:
        NstError: naming the file and the hash that it does not have, or why it or its pin cannot be read.
    """
    pin = _pin_of(path)
    ways_on = "; delete it and fetch it again"
    try:
        sha256 = sha256_of_file(path)
        pinned = pin.read_text(encoding="utf-8", errors="replace").partition(" ")[0].strip() if pin.exists() else None
    except OSError as error:
        raise NstError(f"{error.filename or path}: cannot be read: {reason(error)}") from error
    if pinned is not None:
        if sha256 != pinned:
            raise NstError(f"{path}: has changed: SHA-256 {sha256}, but {pinned!r} is pinned in {pin}{ways_on}")
    else:
        check_published(path, published, ways_on)
        _pin(path, sha256)
    return sha256


def _pin_of(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _pin(path: Path, sha256: str) -> None:
    """Write the pin beside a file, in the form that `sha256sum -c` reads."""
    # A cache that this user may read only: the publisher's hash, just checked, is checked again next time.
    with contextlib.suppress(OSError), files.whole(_pin_of(path)) as part:
        part.write_text(f"{sha256}  {path.name}\n", encoding="utf-8", newline="\n")


def _reason(error: Exception) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    # requests wraps urllib3's "max retries exceeded", which says the url again; its reason is what went wrong
    return reason(getattr(error.args[0], "reason", error) if error.args else error)
