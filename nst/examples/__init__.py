"""Drawn example pictures (draw.py), carried in the package so that a first run needs no network."""

from pathlib import Path

FOLDER = Path(__file__).parent
CONTENT = FOLDER / "harbour.jpg"
STYLES = {name: FOLDER / f"{name}.jpg" for name in ("swirls", "waves", "mosaic")}
