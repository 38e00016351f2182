"""Where tables are printed."""

from rich.console import Console

WIDTH = 130
"""Columns of the widest table; a narrower terminal breaks its lines, which is better than to shorten numbers."""


def console() -> Console:
    """Return a console that shortens no number of a table."""
    return Console(highlight=False, width=WIDTH)
