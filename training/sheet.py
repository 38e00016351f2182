"""A contact sheet of the generated pictures: one row per family and one of scenes, to be looked at."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.textures import FAMILIES, scene, texture
from training.textures.arrays import Array

SAMPLES = 6
LABEL = 120
"""Pixels left of a row for its name."""
GAP = 4


def picture(name: str, seed: int, size: int) -> Array:
    """Return a picture of the row with that name."""
    return scene(seed, size) if name == "scene" else texture(seed, size, family=name)


def contact_sheet(names: Sequence[str], seed: int, pixels: int) -> Image.Image:
    """Return the sheet, `pixels` of every picture's middle at full resolution, and print what each row took."""
    step = pixels + GAP
    sheet = Image.new("RGB", (LABEL + SAMPLES * step, len(names) * step), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for row, name in enumerate(names):
        begin = time.perf_counter()
        pictures = [picture(name, seed * 100_000 + row * SAMPLES + n, max(256, pixels)) for n in range(SAMPLES)]
        print(f"{name:16} {(time.perf_counter() - begin) / SAMPLES * 1000:6.0f} ms each", flush=True)
        draw.text((4, row * step + pixels // 2), name.replace("_", " "), "black", font)
        for n, whole in enumerate(pictures):
            low = (len(whole) - pixels) // 2
            middle = whole[low : low + pixels, low : low + pixels]
            sheet.paste(Image.fromarray(np.rint(middle * 255).astype(np.uint8)), (LABEL + n * step, row * step))
    return sheet


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the sheet that the command line asks for."""
    known = [*FAMILIES, "scene"]
    parser = argparse.ArgumentParser(prog="python -m training.sheet", description=__doc__)
    parser.add_argument("rows", nargs="*", help="families, or scene; all of them if none is named")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the PNG to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pixels", type=int, default=128, help="shown of every picture")
    chosen = parser.parse_args(arguments)
    unknown = sorted(set(chosen.rows) - set(known))
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}; there are: {', '.join(known)}")
    contact_sheet(chosen.rows or known, chosen.seed, chosen.pixels).save(chosen.output)


if __name__ == "__main__":
    main()
