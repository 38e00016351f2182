import dataclasses

import pytest

from compare.record import record
from nst_spec import backend as backends
from nst_spec import recipe
from nst_spec.images import Picture
from nst_spec.inputs import Inputs
from tests.conftest import smooth_image


@pytest.fixture(scope="session")
def inputs(narrow_weights):
    content, style = (Picture(smooth_image(32, 40, seed), f"{seed}.png", str(seed)) for seed in (1, 2))
    return Inputs(content, (style,), narrow_weights, "caffe")


@pytest.fixture(scope="session")
def traced(inputs):
    """Record a trace with the oracle: traced('gatys2016', **settings of the recipe)."""

    def make(name="default", dtype="float64", runs=True, **settings):
        chosen = recipe.override(recipe.load(name), {"size.pixels": 32, "steps": 6} | settings)
        backend = backends.load("reference", dtype=dtype)
        return record(backend, chosen, inputs, version="0", runs=runs)

    return make


@pytest.fixture(scope="session")
def trace(traced):
    return traced()


def changed(trace, change, *names):
    """A copy of the trace whose named arrays are what `change` makes of them."""
    return dataclasses.replace(trace, arrays={**trace.arrays, **{name: change(trace.arrays[name]) for name in names}})


def at(trace, **environment):
    """A copy of the trace, recorded in another environment."""
    other = trace.header.environment.model_copy(update=environment)
    return dataclasses.replace(trace, header=trace.header.model_copy(update={"environment": other}))


def by(factor):
    return lambda array: array * factor


def lengthened(trace, factor):
    """A fault lengthens the first update of the run and of the nudged run alike."""
    arrays = dict(trace.arrays)
    for name in ("run", "nudged/1"):
        start, after = (arrays[f"{name}/image/{step}"] for step in (0, 1))
        arrays[f"{name}/image/1"] = start + factor * (after - start)
    return dataclasses.replace(trace, arrays=arrays)
