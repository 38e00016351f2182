"""What a weight set makes of pictures: every content in every style, and contents from their content tap alone."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

import nst
from nst_spec.recipe import parse_setting
from training.textures.arrays import Array

GAP = 4
LABEL = 16
"""Pixels above the sheet for what it shows."""


def painted(content: Path, style: Path, options: Mapping[str, Any]) -> Image.Image:
    """Return the pastiche that the default recipe makes."""
    return nst.stylize(content, style, **options).to_pil()


def rebuilt(content: Path, options: Mapping[str, Any]) -> tuple[Image.Image, float]:
    """Return what noise becomes whose content features are to be the picture's, and how alike both are in lightness.

    Alike: the correlation of the two pictures' lightness, 1 for the same shapes.
    """
    given: dict[str, Any] = {"beta": 0.0, "init": "noise", "sigma": 0.2, "tv_weight": 0.05, **options}
    found = nst.stylize(content, content, **given).to_pil()
    return found, float(np.corrcoef(_light(found).ravel(), _light(_fitted(content, found.size)).ravel())[0, 1])


def _light(image: Image.Image) -> Array:
    return np.asarray(image.convert("L"), np.float32)


def _fitted(path: Path, size: tuple[int, int]) -> Image.Image:
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB").resize(size, Image.Resampling.LANCZOS)


def sheet(rows: Sequence[Sequence[Image.Image | None]], side: int, title: str) -> Image.Image:
    """Return the pictures in rows, each within `side` pixels, under a title."""
    whole = Image.new("RGB", (max(map(len, rows)) * (side + GAP), LABEL + len(rows) * (side + GAP)), "white")
    ImageDraw.Draw(whole).text((2, 1), title, "black", ImageFont.load_default(12))
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            if picture is not None:
                whole.paste(
                    ImageOps.contain(picture, (side, side)), (column * (side + GAP), LABEL + row * (side + GAP))
                )
    return whole


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the sheet that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m training.gallery", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the PNG to write")
    parser.add_argument("--contents", type=Path, nargs="+", required=True)
    parser.add_argument("--styles", type=Path, nargs="*", default=[], help="none: contents are rebuilt instead")
    parser.add_argument("--weights", default="embedded")
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--shown", type=int, help="pixels of each picture in the sheet; the size if not given")
    parser.add_argument("--backend")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", dest="settings")
    given = parser.parse_args(arguments)
    options = {
        "weights": given.weights,
        "size": given.size,
        "backend": given.backend,
        "settings": dict(map(parse_setting, given.settings)),
    }
    shown = given.shown or given.size
    fitted = {path: _fitted_within(path, shown) for path in (*given.contents, *given.styles)}
    rows: list[list[Image.Image | None]] = []
    if given.styles:
        rows.append([None, *(fitted[style] for style in given.styles)])
        rows += [[fitted[c], *(painted(c, style, options) for style in given.styles)] for c in given.contents]
    else:
        for content in given.contents:
            picture, alike = rebuilt(content, options)
            print(json.dumps({"content": content.name, "weights": given.weights, "alike": round(alike, 3)}), flush=True)
            rows.append([fitted[content], picture])
    title = f"weights {given.weights}, {given.size} px {' '.join(given.settings)}"
    sheet(rows, shown, title).save(given.output)


def _fitted_within(path: Path, side: int) -> Image.Image:
    with Image.open(path) as image:
        return ImageOps.contain(ImageOps.exif_transpose(image).convert("RGB"), (side, side))


if __name__ == "__main__":
    main()
