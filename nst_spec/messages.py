"""What a person is told while something is under way, and where it goes if the caller does not say."""

import contextlib
import sys
from collections.abc import Callable

Say = Callable[[str], None]
"""Takes one readable sentence."""


def to_stderr(message: str) -> None:
    """Print a message with the program's name before it, above a progress bar if there is one."""
    from tqdm import tqdm

    with contextlib.suppress(BrokenPipeError):  # nobody reads it: no reason to end what is under way
        tqdm.write(f"nst: {message}", file=sys.stderr)
        sys.stderr.flush()


def to_nobody(message: str) -> None:
    """Drop a message."""
