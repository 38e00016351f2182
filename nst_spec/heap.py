"""The C library's heap, where that is glibc's; elsewhere these do nothing."""

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""What glibc's malloc.h calls M_TRIM_THRESHOLD and M_MMAP_THRESHOLD."""
LARGEST_KEPT = 2**30
"""Bytes of the largest block that is kept once it is freed."""
LARGEST_KEPT_UNTOLD = 2**25
"""The same where glibc has its own way; of all that is free together it then keeps twice as much."""


def keep(freed: bool) -> None:
    """Let the process keep what it frees for what it takes next, or let glibc have its own way again.

    Every block above 32 MiB, a layer at 512 px, goes back to the kernel otherwise, which clears it anew each time.
    """
    library = _glibc()
    if library:
        library.mallopt(MMAP_THRESHOLD, LARGEST_KEPT if freed else LARGEST_KEPT_UNTOLD)
        library.mallopt(TRIM_THRESHOLD, -1 if freed else 2 * LARGEST_KEPT_UNTOLD)


def give_back() -> None:
    """Give the kernel all that is free."""
    library = _glibc()
    if library:
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None)
    except TypeError:  # Windows has no library of that name
        return None
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
