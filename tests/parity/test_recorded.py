"""Each backend against traces of both frameworks that were recorded elsewhere.

So a machine that has one framework alone, as a GPU machine often does, still compares both. The traces carry their
inputs; `python -m tests.parity.test_recorded` writes them anew where both frameworks are installed.
"""

from pathlib import Path

import numpy as np
import pytest

from compare import trace as traces
from compare.diff import diff
from compare.record import record
from nst_spec import backend as backends
from nst_spec import recipe, weights
from nst_spec.images import Picture
from nst_spec.inputs import Inputs
from nst_spec.recipe import Recipe
from nst_spec.settings import DTYPES
from tests.conftest import smooth_image

FOLDER = Path(__file__).parent / "recorded"
FILES = sorted(FOLDER.glob("*.safetensors"))
TINY = (4, 6, 8, 8, 8)
"""Widths that keep the files small; every layer, odd sizes and both kinds of tap are still there."""


def again(backend, header, arrays):
    """Record what a trace records, from the inputs it carries."""
    content, style = (
        Picture(arrays[f"input/{role}"].astype(np.float64), f"{role}.png", "") for role in ("content", "style")
    )
    chosen = Recipe.model_validate(header.recipe)
    inputs = Inputs(content, (style,), weights.random_weights(TINY), header.weights.preprocessing)
    return record(backend, chosen, inputs, version="0", image=arrays["image"].astype(np.float64), runs=False)


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_a_backend_computes_what_was_recorded_elsewhere(path, backend):
    recorded = traces.read(path)
    found = diff(again(backend(recorded.header.environment.dtype), recorded.header, recorded.arrays), recorded)
    assert found.ok, f"{found.first}; {found.hint}"
    assert found.sides[1].backend in path.stem


def test_there_is_a_trace_of_each_framework_in_each_precision():
    sides = {(found.backend, found.dtype) for found in (traces.read(path).header.environment for path in FILES)}
    assert sides == {(name, dtype) for name in ("torch", "tf") for dtype in DTYPES}


def main():
    FOLDER.mkdir(exist_ok=True)
    content, style = smooth_image(21, 27, 1), smooth_image(20, 25, 2)
    settings = {"size.rule": "long-edge", "size.pixels": 27, "content.taps": "conv3_2,relu4_2", "pooling.kind": "max"}
    chosen = recipe.override(recipe.load("default"), settings | {"scales": [{"fraction": 1.0, "steps": 0}]})
    pictures = Picture(content, "content.png", ""), Picture(style, "style.png", "")
    inputs = Inputs(pictures[0], pictures[1:], weights.random_weights(TINY), "caffe")
    for dtype in DTYPES:
        for name in ("torch", "tf"):
            backend = backends.load(name, device="cpu", dtype=dtype, deterministic=True)
            image = ((content + smooth_image(21, 27, 3)) / 2).astype(dtype).astype(np.float64)
            found = record(backend, chosen, inputs, version="0", image=image, runs=False)
            traces.write(FOLDER / f"{name}-{dtype}.safetensors", found)


if __name__ == "__main__":
    main()
