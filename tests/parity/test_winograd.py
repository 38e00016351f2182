"""Winograd's algorithm, which paints in float32 on a CPU: the same losses and gradient, and only where it pays."""

import importlib

import numpy as np
import pytest

from nst_spec import backend as backends
from nst_spec import generator, vgg19, weights
from tests.conftest import make_problem, relative, smooth_image

SMALLEST = {"torch": 256, "tf": 192}
"""The side in pixels from which on it pays."""
LEAST = {"torch": "POSITIONS", "tf": "CHANNELS"}
"""What else a layer needs."""


@pytest.fixture
def package(backend_name, monkeypatch):
    """The backend's module and its algorithm's, where neither a CPU nor an earlier test can say no."""
    backend, algorithm = (importlib.import_module(f"nst_{backend_name}.{name}") for name in ("backend", "winograd"))
    if backend_name == "tf":
        monkeypatch.setattr(backend, "is_op_determinism_enabled", lambda: False)
    elif not algorithm.is_available():
        pytest.skip("NNPACK does not know this CPU")
    else:
        monkeypatch.setattr(algorithm, "is_faster", lambda: True)
    return backend, algorithm


CASES = {"torch": [("off", None), (64, None)], "tf": [("off", 2**40), ("off", 0)]}
"""Tiles, and the pixels from which on XLA compiles all of it."""


@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize("case", [0, 1])
def test_it_finds_the_same_losses_and_gradient(case, pooling, backend_name, package, narrow_weights, monkeypatch):
    backend, algorithm = package
    tile, xla_pixels = CASES[backend_name][case]
    if xla_pixels is not None:
        monkeypatch.setattr(backend, "XLA_PIXELS", xla_pixels)
    for name in ("PIXELS", LEAST[backend_name]):
        monkeypatch.setattr(algorithm, name, 0)
    monkeypatch.setattr(vgg19, "WIDTHS", (0,))
    # Of neighbours in noise one may be greater by a rounding alone.
    images = [
        generator.uniform(seed, (97, 82, 3)) if pooling == "average" else smooth_image(97, 82, seed)
        for seed in (1, 2, 3)
    ]
    settings = {"pooling.kind": pooling, "content.taps": "relu2_2", "style.taps": "relu1_1,relu2_1,relu3_1"}
    problem = make_problem("default", narrow_weights, *images[:2], dtype="float32", **settings)
    judged = [
        backends.load(backend_name, device="cpu", fast=fast, tile=tile).objective(problem) for fast in (True, False)
    ]
    layers = [objective.network.layers["conv1_2"] for objective in judged]
    taken = [
        layer.winograd if backend_name == "torch" else isinstance(layer, algorithm.Convolution) for layer in layers
    ]
    assert taken == [True, False]
    ours, plain = (objective.evaluate(images[2].astype("float32")) for objective in judged)
    assert 0 < relative(ours.gradient, plain.gradient) <= 1e-4
    assert ours.losses.total == pytest.approx(plain.losses.total, rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "smaller", "narrower", "taken"),
    [
        ({"fast": True}, 0, 0, True),
        ({}, 0, 0, False),
        ({"fast": True}, 16, 0, False),
        ({"fast": True}, 0, 1, False),
        ({"fast": True, "precision": "bf16"}, 0, 0, False),
        ({"fast": True, "dtype": "float64"}, 0, 0, False),
        ({"fast": True, "tile": 128}, 0, 0, {"torch": True, "tf": False}),
    ],
)
def test_it_is_for_fast_float32_where_it_pays(settings, smaller, narrower, taken, backend_name, package, monkeypatch):
    side = SMALLEST[backend_name]
    shallow = {"content.taps": "relu1_2", "style.taps": "relu1_1"}
    images = [np.zeros((side - smaller, side, 3))] * 2
    loaded = backends.load(backend_name, device="cpu", **settings)
    given = weights.random_weights((64 - narrower,))
    problem = make_problem("default", given, *images, dtype=loaded.dtype, **shallow)
    made = []
    for kind in ("Objective", "TiledObjective"):
        monkeypatch.setattr(package[0], kind, lambda *arguments, **options: made.append(options["winograd"]))
    assert loaded.switches()["winograd"] is False
    loaded.objective(problem)
    expected = taken if isinstance(taken, bool) else taken[backend_name]
    assert made == [expected]
    assert loaded.switches()["winograd"] is expected
