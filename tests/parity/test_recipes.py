"""Every recipe in both precisions, backend against backend and against the oracle, with twenty steps of its optimiser.

`pytest tests/parity --device cuda` asserts the same on a GPU, and there also what TensorFloat-32 and bfloat16 may do.
"""

import functools

import pytest

from compare.diff import diff, wants_closer_look
from compare.record import record
from nst_spec import backend as backends
from nst_spec import recipe, weights
from nst_spec.images import Picture
from nst_spec.inputs import Inputs
from nst_spec.settings import DTYPES
from tests.conftest import NARROW, smooth_image, takes_both

CONTENT, STYLE = (
    Picture(smooth_image(*size, seed), f"{seed}.png", "") for size, seed in (((42, 60), 1), ((40, 33), 2))
)


@functools.cache
def traced(backend_name, name, dtype, device, precision="fp32", steps=20, closer=False):
    weight_set = weights.random_weights(NARROW)
    chosen = recipe.override(recipe.load(name), {"size.pixels": 50, "steps": steps})
    space = weights.preprocessing_for(chosen.preprocessing, chosen.weights, weight_set)
    where = "cpu" if backend_name == "reference" else device
    backend = backends.load(backend_name, device=where, dtype=dtype, precision=precision, deterministic=True)
    inputs = Inputs(CONTENT, (STYLE,), weight_set, space)
    return record(backend, chosen, inputs, version="0", runs=steps > 0, closer=closer)


def check_agreement(one, other, *what, **settings):
    found = diff(traced(one, *what, **settings), traced(other, *what, **settings))
    if wants_closer_look(found):
        found = diff(traced(one, *what, closer=True), traced(other, *what, closer=True))
    assert found.ok, f"{found.first}; {found.hint}"
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", recipe.names())
def test_every_recipe_is_the_oracles(name, dtype, backend_name, device):
    found = check_agreement(backend_name, "reference", name, dtype, device)
    assert found.trajectory.judged
    assert len(found.trajectory.steps) == 21


@takes_both
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", recipe.names())
def test_every_recipe_is_the_same_in_both_frameworks(name, dtype, device):
    found = check_agreement("torch", "tf", name, dtype, device)
    assert found.trajectory.judged


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize("name", ["default", "gatys2016", "udacity2018"])
def test_less_precision_stays_within_its_own_limits(name, precision, backend_name, device):
    if precision == "tf32" and device != "cuda":
        pytest.skip("TensorFloat-32 takes a GPU: --device cuda")
    reduced = traced(backend_name, name, "float32", device, precision, steps=0)
    found = diff(reduced, traced("reference", name, "float32", device, steps=0))
    assert found.ok, f"{found.first}; {found.hint}"
    assert found.profile == precision
    # It is what it says: full precision is a thousand times nearer.
    assert max(layer.output.error for layer in found.layers) > 1e-4
