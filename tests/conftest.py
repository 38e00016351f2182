import functools
import gc
import importlib.util
import os

# All must happen before any test module imports a framework or looks for a cache.
os.environ["NST_OFFLINE"] = "1"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"  # or a test that paints would choose it for all that come after
# Processes that test side by side (pytest -n) share the processors, and must not all start a thread on each.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    os.environ["OMP_NUM_THREADS"] = os.environ["TF_NUM_INTRAOP_THREADS"] = str(
        max(1, (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    )
if importlib.util.find_spec("triton"):
    importlib.import_module("triton")  # PyTorch's compiler, which after TensorFlow would abort the process

import hypothesis
import numpy as np
import pytest
from PIL import Image

from compare import launch
from nst_spec import backend as backends
from nst_spec import cpu, generator, preprocessing, recipe, vgg19, weight_files, weights
from nst_spec.backend import Problem

# The same examples every time, however busy the machine is; what a fixture gives is the same for all of them.
hypothesis.settings.register_profile(
    "steady",
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("steady")

# Processes that tests start run this checkout too, whatever is installed.
os.environ.update(launch.environment())

NARROW = tuple(width // 8 for width in vgg19.WIDTHS)


def automatic_precision(backend_name):
    """What `auto` is on this CPU: TensorFlow, which has no oneDNN in these tests, gains nothing by bfloat16."""
    return "bf16" if cpu.gains_by_bf16() and backend_name != "tf" else "fp32"


takes_both = pytest.mark.skipif(not {"torch", "tf"} <= set(backends.installed()), reason="takes both frameworks")


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="device of the backends under test: cpu, cuda or mps")


@functools.cache
def _imported(backend_name):
    backends.load(backend_name)
    # What a framework made while it was imported is there to stay; to look through it takes half a second a collection.
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _alone(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("NST_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def device(request):
    return request.config.getoption("--device")


@pytest.fixture(params=["torch", "tf"])
def backend_name(request):
    if request.param not in backends.installed():
        pytest.skip(f"{request.param} is not installed")
    _imported(request.param)
    return request.param


@pytest.fixture
def framework():
    """One backend, for tests of what starts processes of its own and does not depend on which."""
    return backends.default_name()


@pytest.fixture
def eager(backend_name):
    """TensorFlow without graphs, for tests of something else: to trace one takes longer than a small image's passes."""
    if backend_name == "torch":
        yield
        return
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def backend(backend_name, device):
    """Load the backend under test in a precision: backend('float64')."""
    return lambda dtype="float64": backends.load(backend_name, device=device, dtype=dtype)


@pytest.fixture(scope="session")
def narrow_weights():
    """Random weights of an eighth of VGG19's width."""
    return weights.random_weights(NARROW)


@pytest.fixture
def narrow_file(narrow_weights, tmp_path):
    """The narrow weights as a file without a preprocessing of its own."""
    path = tmp_path / "narrow.safetensors"
    weight_files.write(path, narrow_weights.arrays, {})
    return path


def splitmix64(state):
    """SplitMix64 in Python's own integers: the sequential form that Vigna published, without an end."""
    while True:
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        yield z ^ (z >> 31)


def quartic_gradient(x):
    """The gradient of `sum (x - 1)^4 + sum x[i] x[i + 1]`, something to minimise: (N,)."""
    gradient = 4 * (x - 1) ** 3
    gradient[1:] += x[:-1]
    gradient[:-1] += x[1:]
    return gradient


def to_uint8(image):
    return (image * 255).astype(np.uint8)


def smooth_image(height, width, seed):
    """An image with colour, gradients and grain, so that no two regions are alike."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    phases = generator.uniform(seed, (3, 3)) * 6.3
    waves = [np.sin(x / 9 + a) + np.sin(y / 7 + b) + np.sin((x + y) / 15 + c) for a, b, c in phases]
    grain = generator.uniform(seed + 1, (height, width, 3))
    return np.clip(0.5 + np.stack(waves, axis=-1) / 8 + (grain - 0.5) / 5, 0, 1)


def make_problem(recipe_or_name, weight_set, content, style, dtype="float64", **settings):
    chosen = recipe.load(recipe_or_name) if isinstance(recipe_or_name, str) else recipe_or_name
    chosen = recipe.override(chosen, settings)
    space = weights.preprocessing_for(chosen.preprocessing, chosen.weights, weight_set)
    assert space in preprocessing.SPACES
    return Problem(chosen, weight_set, space, content.astype(dtype), (style.astype(dtype),), chosen.steps)


def relative(received, expected):
    """Norm of the difference over norm of the expected; 0 where both are all zero."""
    received, expected = np.asarray(received, np.float64), np.asarray(expected, np.float64)
    norm = np.linalg.norm(expected)
    difference = np.linalg.norm(received - expected)
    return difference / norm if norm else difference


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(to_uint8(smooth_image(48, 64, 1))).save(path)
    return path


@pytest.fixture
def painting(tmp_path):
    path = tmp_path / "painting.jpg"
    Image.fromarray(to_uint8(smooth_image(56, 40, 5))).save(path, quality=95)
    return path
