"""Winograd's algorithm, which paints in float32 on a CPU: the same losses and gradient, and only where it pays."""

import importlib

import numpy as np
import pytest

from nst_spec import backend as backends
from nst_spec import generator, memory, vgg19, weights, winograd
from tests.conftest import make_problem, relative, smooth_image

SMALLEST = 128
"""The side in pixels from which on it pays."""


@pytest.fixture
def package(backend_name, monkeypatch):
    """The backend's module and its algorithm's, where neither a CPU nor an earlier test can say no."""
    backend, algorithm = (importlib.import_module(f"nst_{backend_name}.{name}") for name in ("backend", "winograd"))
    if backend_name == "tf":
        monkeypatch.setattr(backend, "is_op_determinism_enabled", lambda: False)
    else:
        monkeypatch.setattr(algorithm, "is_faster", lambda: True)
    return backend, algorithm


def takes(layer):
    """Whether a layer of either backend takes the algorithm."""
    return getattr(layer, "transformed", None) is not None


@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize(("tile", "xla_pixels"), [("off", 2**40), (64, 2**40), ("off", 0)], ids=["", "tiles", "xla"])
def test_it_finds_the_same_losses_and_gradient(
    tile, xla_pixels, pooling, backend_name, package, narrow_weights, monkeypatch
):
    backend, _ = package
    if backend_name == "tf":
        monkeypatch.setattr(backend, "has_onednn", lambda: False)
        monkeypatch.setattr(backend, "XLA_PIXELS", xla_pixels)
    elif not xla_pixels:
        pytest.skip("the framework has no XLA")
    for name in ("PIXELS", "CHANNELS"):
        monkeypatch.setattr(winograd, name, 0)
    monkeypatch.setattr(vgg19, "WIDTHS", (0,))
    # Of neighbours in noise one may be greater by a rounding alone.
    images = [
        generator.uniform(seed, (97, 82, 3)) if pooling == "average" else smooth_image(97, 82, seed)
        for seed in (1, 2, 3)
    ]
    settings = {"pooling.kind": pooling, "content.taps": "conv2_2", "style.taps": "relu1_1,relu2_1,conv3_1"}
    problem = make_problem("default", narrow_weights, *images[:2], dtype="float32", **settings)
    judged = [
        backends.load(backend_name, device="cpu", fast=fast, tile=tile).objective(problem) for fast in (True, False)
    ]
    assert [takes(objective.network.layers["conv1_2"]) for objective in judged] == [True, False]
    assert getattr(judged[0], "xla", False) == (not xla_pixels)
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
        ({"fast": True, "tile": 128}, 0, 0, True),
    ],
)
def test_it_is_for_fast_float32_where_it_pays(settings, smaller, narrower, taken, backend_name, package, monkeypatch):
    side = SMALLEST
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
    assert made == [taken]
    assert loaded.switches()["winograd"] is taken
    if taken:  # and what comes next is asked anew
        small = [image[:32, :32] for image in images]
        loaded.objective(make_problem("default", given, *small, dtype=loaded.dtype, **shallow))
        assert loaded.switches()["winograd"] is False


def test_memory_is_planned_beside_the_transformed_kernels(backend_name, package, monkeypatch):
    images = [np.zeros((128, 128, 3))] * 2
    taps = {"content.taps": "relu2_2", "style.taps": "relu1_1"}
    problem = make_problem("default", weights.random_weights((64, 128)), *images, dtype="float32", **taps)
    monkeypatch.setattr(package[0].memory, "free", lambda device: 2**34)
    free = []

    def planned(needs, tile, left):
        free.append(left)
        return memory.Plan()

    monkeypatch.setattr(memory, "plan", planned)
    for fast in (False, True):
        backends.load(backend_name, device="cpu", fast=fast).objective(problem)
    # The float32 kernel of conv2_2, of 36 numbers for each pair of channels; those before it have too few of them.
    assert free == [2**34, 2**34 - 36 * 4 * 128 * 128]
