"""What a person is told while something is under way, and where it goes if the caller does not say."""

import sys
from collections.abc import Callable

Say = Callable[[str], None]
"""Takes one readable sentence."""


def to_stderr(message: str) -> None:
    """Print a message with the program's name before it, above a progress bar if there is one."""
    from tqdm import tqdm

    if sys.stderr is not None:  # a program without a terminal may have none
        tqdm.write(f"nst: {message}", file=sys.stderr)
        sys.stderr.flush()


def to_nobody(message: str) -> None:
    """Drop a message."""
