"""What a person is told while something is under way, and where it goes if the caller does not say."""

import sys
from collections.abc import Callable

Say = Callable[[str], None]
"""Takes one readable sentence."""


def to_stderr(message: str) -> None:
    """Print a message with the program's name before it, as its warnings have it."""
    print(f"nst: {message}", file=sys.stderr, flush=True)


def to_nobody(message: str) -> None:
    """Drop a message."""
