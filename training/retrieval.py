"""Retrieval: does a crop find the other crop of its texture? By Gram matrices of a weight set, or by colours alone."""

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nst_spec import backend as backends
from nst_spec import recipe, weights
from training.pictures import EVALUATION_SEED, HELD_OUT, LUMA, SEEN, Pictures, of_families, rendered
from training.textures.arrays import Array

COLOURS = "colour histogram"
BINS = 8
SIZE = 256
"""Side of a texture, or of a piece of a photograph that counts as one."""

Describe = Callable[[Array], list[Array]]
"""From a picture (H, W, 3) in [0, 1] to vectors, whose differences count alike."""


def by_grams(weight_set: weights.WeightSet, backend: backends.Backend) -> Describe:
    """Return the description by the Gram matrices at the default recipe's style taps, each of norm 1."""
    chosen = recipe.load("default")
    space = weights.preprocessing_for(chosen.preprocessing, chosen.weights, weight_set)

    @cache
    def objective(height: int, width: int) -> backends.Objective:
        # Whatever its targets are: the Gram matrices of the image that is judged do not depend on them.
        blank = np.full((height, width, 3), 0.5, np.float32)
        return backend.objective(backends.Problem(chosen, weight_set, space, blank, (blank,), 0))

    def describe(picture: Array) -> list[Array]:
        grams = objective(*picture.shape[:2]).evaluate(picture).grams
        return [np.asarray(grams[tap]).ravel() for tap in chosen.style.taps]

    return describe


def by_colours(picture: Array) -> list[Array]:
    """Return the description by a histogram of colours, BINS to a channel."""
    return [np.histogramdd(picture.reshape(-1, 3), BINS, [(0, 1)] * 3)[0].ravel().astype(np.float32)]


def precision(describe: Describe, pairs: Iterable[tuple[Array, Array]]) -> float:
    """Return the share of crops whose nearest neighbour among all others is the other crop of the same texture."""
    described = [describe(crop) for pair in pairs for crop in pair]
    similarity = np.zeros((len(described), len(described)))
    for vectors in zip(*described, strict=True):
        stacked = np.stack(vectors)
        stacked /= np.linalg.norm(stacked, axis=1, keepdims=True)
        similarity += stacked @ stacked.T
    np.fill_diagonal(similarity, -np.inf)
    others = np.arange(len(described)) ^ 1
    return float(np.mean(similarity.argmax(axis=1) == others))


def pairs_of(textures: Iterable[NDArray[np.uint8]], side: int, *, grey: bool) -> Iterable[tuple[Array, Array]]:
    """Return two crops of each texture, from opposite corners."""
    for whole in textures:
        picture = whole.astype(np.float32) / 255
        if grey:
            picture = np.repeat(picture @ np.array(LUMA, np.float32)[:, None], 3, axis=2)
        yield picture[:side, :side], picture[-side:, -side:]


def photographs(folder: Path) -> Pictures:
    """Return pieces of SIZE / 2 pixels of every photograph in a folder, each reduced to 768 px first."""
    side, pieces = SIZE // 2, []
    for path in sorted(folder.glob("*.[jp][pn]g")):
        with Image.open(path) as image:
            image.thumbnail((6 * side, 6 * side))
            pixels = np.asarray(image.convert("RGB"))
        pieces += [
            pixels[top : top + side, left : left + side]
            for top in range(0, pixels.shape[0] - side + 1, side)
            for left in range(0, pixels.shape[1] - side + 1, side)
        ]
    return np.stack(pieces)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print, as JSON lines, the precision of every description on textures never trained on."""
    parser = argparse.ArgumentParser(prog="python -m training.retrieval", description=__doc__)
    parser.add_argument("--weights", nargs="+", default=["embedded", "random"], help="weight sets or files")
    parser.add_argument("--backend", help="what computes the Gram matrices")
    parser.add_argument("--count", type=int, default=200, help="textures of each kind")
    parser.add_argument("--side", type=int, default=64, help="pixels of a crop")
    parser.add_argument("--photographs", type=Path, help="a folder of pictures, cut into pieces")
    given = parser.parse_args(arguments)
    seeds = range(EVALUATION_SEED, EVALUATION_SEED + given.count)
    kinds: Mapping[str, Sequence[str]] = {"unseen seeds": SEEN, "unseen families": HELD_OUT}
    textures = {
        kind: rendered(partial(of_families, size=SIZE, families=families), seeds) for kind, families in kinds.items()
    }
    if given.photographs:
        textures["photographs"] = photographs(given.photographs)
    backend = backends.load(given.backend)
    descriptions = {name: by_grams(weights.load(name), backend) for name in given.weights} | {COLOURS: by_colours}
    for kind, pictures in textures.items():
        for grey in (False, True):
            found = {
                name: round(precision(describe, pairs_of(pictures, given.side, grey=grey)), 3)
                for name, describe in descriptions.items()
            }
            heading = {"textures": kind, "count": len(pictures), "side": given.side, "grey": grey}
            print(json.dumps(heading | {"precision@1": found}), flush=True)


if __name__ == "__main__":
    main()
