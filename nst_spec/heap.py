"""The C library's heap, where that is glibc's; elsewhere these do nothing."""

import contextlib
import ctypes
from collections.abc import Iterator

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""What glibc's malloc.h calls M_TRIM_THRESHOLD and M_MMAP_THRESHOLD."""
LARGEST_KEPT = 2**31 - 1
"""Bytes of the largest block that is kept once it is freed: the most that glibc can be told. A layer at 2048 px has
2^30."""
LARGEST_KEPT_UNTOLD = 2**25
"""The most that glibc comes to keep of its own accord; of all that is free together it then keeps twice as much."""

_keeps = False


def keep(freed: bool) -> None:
    """Let the process keep what it frees for what it takes next, or no more than glibc comes to keep of its own accord.

    Every block above 32 MiB, a layer at 512 px, goes back to the kernel otherwise, which clears it anew each time.
    Where nothing was to be kept before, glibc, and who has set it otherwise, are left alone.
    """
    global _keeps
    library = _glibc()
    if library and freed != _keeps:
        _keeps = freed
        library.mallopt(MMAP_THRESHOLD, LARGEST_KEPT if freed else LARGEST_KEPT_UNTOLD)
        library.mallopt(TRIM_THRESHOLD, -1 if freed else 2 * LARGEST_KEPT_UNTOLD)


def give_back() -> None:
    """Give the kernel all that is free."""
    library = _glibc()
    if library:
        library.malloc_trim(0)


@contextlib.contextmanager
def borrowed() -> Iterator[None]:
    """Keep nothing for longer than this lasts: the program around it wants it back."""
    try:
        yield
    finally:
        keep(False)
        give_back()


def _glibc() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None)
    except TypeError:  # Windows has no library of that name
        return None
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
