"""nst_tf against keras.applications and Keras' optimisers themselves."""

import gc
import os
import subprocess
import sys
import weakref

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
import keras  # noqa: E402
from tensorflow.python.framework import config as determinism  # noqa: E402

import nst  # noqa: E402
import nst_tf  # noqa: E402
from nst_spec import backend as backends  # noqa: E402
from nst_spec import cpu, generator, recipe, reference, vgg19, weights  # noqa: E402
from nst_spec import losses as spec_losses  # noqa: E402
from nst_spec import winograd as spec  # noqa: E402
from nst_spec.errors import NstError  # noqa: E402
from nst_spec.frugal import FrugalDescent  # noqa: E402
from nst_spec.recipe import Pooling  # noqa: E402
from nst_tf import backend, losses, memory, network, optimizers, winograd  # noqa: E402
from tests.conftest import make_problem, quartic_gradient, relative, smooth_image  # noqa: E402


def build(arrays, taps=vgg19.TAPS, pooling=None, dtype="float64"):
    return network.Network(arrays, taps, pooling or Pooling(), dtype=dtype, image_dtype=dtype)


def test_the_full_network_is_keras_own():
    arrays = weights.random_weights().arrays
    original = keras.applications.VGG19(include_top=False, weights=None, input_shape=(37, 50, 3))
    for name in vgg19.CONVOLUTIONS:
        kernel = np.transpose(arrays[f"{name}.weight"], (2, 3, 1, 0))
        original.get_layer(vgg19.keras_name(name)).set_weights([kernel, arrays[f"{name}.bias"]])
    rectified = [vgg19.rectified(name) for name in vgg19.CONVOLUTIONS]
    outputs = [original.get_layer(vgg19.keras_name(tap)).output for tap in rectified]
    image = tf.random.stateless_normal((1, 37, 50, 3), seed=(0, 1))
    features = dict(build(arrays, dtype="float32")(image))
    for tap, expected in zip(rectified, keras.Model(original.input, outputs)(image), strict=True):
        np.testing.assert_allclose(features[tap], expected, rtol=1e-5, atol=1e-5, err_msg=tap)
    assert len(features) == 32


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras', as it saves
@pytest.mark.parametrize("file", ["model.weights.h5", "model.h5", "model.keras"])
def test_the_files_that_keras_writes_are_read(file, tmp_path):
    model = keras.applications.VGG19(include_top=False, weights=None)
    (model.save_weights if file.endswith(".weights.h5") else model.save)(tmp_path / file)
    read = weights.load(str(tmp_path / file))
    assert read.preprocessing == "caffe"
    for name in vgg19.CONVOLUTIONS:
        layer = model.get_layer(vgg19.keras_name(name))
        kernel = layer.kernel.numpy().transpose(3, 2, 0, 1)
        np.testing.assert_array_equal(read.arrays[f"{name}.weight"], kernel, err_msg=name)
        np.testing.assert_array_equal(read.arrays[f"{name}.bias"], layer.bias.numpy(), err_msg=name)


def test_the_network_ends_at_the_deepest_tap(narrow_weights):
    built = build(narrow_weights.arrays, ["relu1_1", "conv2_1"])
    assert list(built.layers) == ["conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1", "conv2_1"]


def test_a_raw_tap_is_not_rectified_by_the_layer_after_it(narrow_weights):
    image = tf.random.stateless_normal((1, 8, 8, 3), seed=(0, 1), dtype="float64")
    features = dict(build(narrow_weights.arrays, ["conv1_1", "relu1_1"])(image))
    assert tf.reduce_min(features["conv1_1"]) < 0
    np.testing.assert_array_equal(np.maximum(features["conv1_1"], 0), features["relu1_1"])


@pytest.mark.parametrize(
    ("settings", "original"),
    [
        (recipe.Adam(lr=0.05, epsilon=1e-7, convention="hat"), lambda: keras.optimizers.Adam(0.05, epsilon=1e-7)),
        (
            recipe.Adam(lr=0.05, beta1=0.5, epsilon=0.1, convention="hat"),
            lambda: keras.optimizers.Adam(0.05, beta_1=0.5, epsilon=0.1),
        ),
        (
            recipe.SGD(lr=0.05, decay_rate=0.5, decay_steps=4),
            lambda: keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.05, 4, 0.5)),
        ),
    ],
)
def test_update_rules_are_keras_own(settings, original):
    start = np.linspace(-1, 2, 12)
    ours, theirs = tf.Variable(start), keras.Variable(start, dtype="float64")
    update, optimizer = optimizers.optimizer_for(settings, ours), original()
    for _ in range(15):
        update.update(tf.constant(quartic_gradient(ours.numpy())))
        optimizer.apply([tf.constant(quartic_gradient(theirs.numpy()))], [theirs])
    # Keras computes 1 - beta2^t in float32, where 1 - 0.999 has an error of 6e-5.
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=2e-4)


@pytest.mark.parametrize("pairs_in_one_array", [1, 2, 5])
def test_lbfgs_is_torchs(pairs_in_one_array, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(optimizers, "BLOCK_BYTES", pairs_in_one_array * 2 * 12 * 8)
    start = np.linspace(-1, 2, 12)
    ours, theirs = tf.Variable(start), torch.tensor(start, requires_grad=True)
    update = optimizers.LBFGS(recipe.LBFGS(history=5), ours)
    optimizer = torch.optim.LBFGS([theirs], max_iter=1, history_size=5)

    def closure():
        theirs.grad = quartic_gradient(theirs.detach())
        return torch.tensor(1.0)

    for _ in range(15):
        update.update(tf.constant(quartic_gradient(ours.numpy())))
        optimizer.step(closure)
    np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), rtol=1e-10)
    assert [len(block) // 2 for block in update.blocks] == {1: [1] * 5, 2: [2, 2, 1], 5: [5]}[pairs_in_one_array]


@pytest.mark.parametrize(
    ("settings", "can", "onednn"),
    [
        ({}, ["has_avx512", "gains_by_bf16"], False),
        ({"fast": True}, [], False),
        ({"fast": True}, ["has_avx512"], True),
        ({"fast": True, "dtype": "float64"}, ["has_avx512"], False),
        ({"precision": "bf16"}, [], True),
        ({"precision": "auto"}, ["gains_by_bf16"], True),
        ({"precision": "auto"}, ["has_avx512"], False),
        ({"precision": "auto", "dtype": "float64"}, ["gains_by_bf16"], False),
    ],
)
def test_onednn_is_for_bfloat16_and_for_fast_steps_by_avx512(settings, can, onednn, monkeypatch):
    monkeypatch.delenv(nst_tf.ONEDNN)
    # Chosen before TensorFlow is imported, which takes a process of its own.
    code = f"""
import os, nst_tf
from nst_spec import cpu
from nst_spec.settings import Settings
for what in ("has_avx512", "gains_by_bf16"):
    setattr(cpu, what, lambda what=what: what in {can})
nst_tf.prepare(Settings(**{settings}))
with nst_tf.importing():
    print(os.environ[nst_tf.ONEDNN])
print(os.environ.get(nst_tf.ONEDNN))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(int(onednn)), "None"]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_tensorflow_keeps_to_the_choice_that_no_other_process_is_given(precision, monkeypatch):
    monkeypatch.delenv(nst_tf.ONEDNN)
    code = f"""
import os
from nst_spec import backend
loaded = backend.load("tf", device="cpu", precision="{precision}")
print(loaded.switches()["onednn"], "{nst_tf.ONEDNN}" in os.environ)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(precision == "bf16"), "False"]


def test_what_the_environment_says_of_onednn_stands(monkeypatch):
    monkeypatch.setenv(nst_tf.ONEDNN, "0")
    loaded = backends.load("tf", fast=True)
    assert loaded.switches()["onednn"] is False


@pytest.mark.parametrize(
    ("onednn", "gains", "expected"),
    [(True, True, "bf16"), (True, False, "fp32"), (False, True, "fp32"), (False, False, "fp32")],
)
def test_auto_is_bfloat16_where_the_cpu_gains_by_it_and_onednn_is_there(onednn, gains, expected, monkeypatch):
    monkeypatch.setattr(backend, "has_onednn", lambda: onednn)
    monkeypatch.setattr(cpu, "gains_by_bf16", lambda: gains)
    assert backends.load("tf", device="cpu", precision="auto").precision == expected


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_not_collected_during_the_import_and_as_before_after_it(enabled):
    (gc.enable if enabled else gc.disable)()
    try:
        with nst_tf.importing():
            assert not gc.isenabled()
        assert gc.isenabled() == enabled
        with pytest.raises(ZeroDivisionError), nst_tf.importing():
            raise ZeroDivisionError
        assert gc.isenabled() == enabled
    finally:
        gc.enable()


def test_a_program_without_a_terminal_can_import_it(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    imported = []
    with nst_tf.importing():
        imported.append(True)
    assert imported


def test_the_switches_are_tensorflows_own_where_it_was_there_first():
    code = """
import os, sys
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
import tensorflow
del os.environ["TF_ENABLE_ONEDNN_OPTS"]
from nst_spec import backend
found = backend.load("tf", device="cpu", fast=True).switches()
print(found["onednn"], found["threads"] if hasattr(os, "sched_setaffinity") else 1)
"""
    # Whatever loaded TensorFlow in this process has said how many threads.
    environment = {name: value for name, value in os.environ.items() if name != nst_tf.THREADS}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["True", "1"]


def test_threads_cannot_change_once_tensorflow_runs(not_deterministic):
    tf.constant(0.0)
    with pytest.raises(NstError, match="too late for threads or memory settings"):
        backends.load("tf", device="cpu", threads=97, deterministic=True)
    assert not determinism.is_op_determinism_enabled()  # a call that failed leaves nothing behind


def test_keras_must_run_on_tensorflow(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(NstError, match="Keras runs on jax here; set KERAS_BACKEND=tensorflow"):
        backends.load("tf", device="cpu")


def test_tensorflow_starts_without_chatter():
    code = "from nst_spec import backend; backend.load('tf'); import tensorflow as tf; tf.constant(1)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")


@pytest.fixture
def not_deterministic():
    """Determinism once asked for is the whole process's, and so every later test's."""
    before = determinism.is_op_determinism_enabled()
    determinism.disable_op_determinism()
    yield
    (determinism.enable_op_determinism if before else determinism.disable_op_determinism)()


def compiled_of_192_px(**settings):
    """Return whether XLA compiles the passes over an image of 192 x 192 px, and whether the switches say so."""
    weight_set = weights.random_weights((2,))
    images = [smooth_image(192, 192, seed) for seed in (1, 2)]
    loaded = backends.load("tf", device="cpu", **settings)
    taps = {"content.taps": "relu1_2", "style.taps": "relu1_1"}
    objective = loaded.objective(make_problem("default", weight_set, *images, dtype=loaded.dtype, **taps))
    return objective.xla, loaded.switches()["xla"]


@pytest.mark.parametrize(
    ("settings", "onednn", "xla"),
    [
        ({}, False, False),
        ({"fast": True}, False, True),
        ({"fast": True}, True, False),
        ({"fast": True, "precision": "bf16"}, False, False),
        ({"fast": True, "dtype": "float64"}, False, False),
        ({"fast": True, "deterministic": True}, False, False),
    ],
)
def test_xla_is_for_those_who_accept_another_rounding(settings, onednn, xla, monkeypatch, not_deterministic):
    monkeypatch.setattr(backend, "has_onednn", lambda: onednn)
    assert backends.load("tf", device="cpu", **settings).switches()["onednn"] == onednn
    assert compiled_of_192_px(**settings) == (xla, xla)


@pytest.mark.parametrize(
    "settings", [{}, {"dtype": "float64"}, {"deterministic": True}, {"fast": True}, {"fast": True, "precision": "bf16"}]
)
@pytest.mark.parametrize(("sides", "compiled"), [((64, 64), True), ((63, 64), False)])
def test_xla_compiles_a_large_images_total_variation_only(
    settings, sides, compiled, narrow_weights, not_deterministic, monkeypatch
):
    monkeypatch.setattr(backend, "has_onednn", lambda: True)
    monkeypatch.setattr(backend, "XLA_PIXELS", 64 * 64)
    dtype = settings.get("dtype", "float32")
    images = [smooth_image(*sides, seed) for seed in (1, 2, 3)]
    problem = make_problem("default", narrow_weights, *images[:2], dtype=dtype)
    objective = backends.load("tf", device="cpu", **settings).objective(problem)
    assert (objective.xla, objective.xla_tv) == (False, compiled)
    variable = objective.variable(images[2].astype(dtype))
    expected, slope = spec_losses.total_variation(variable[0].numpy().astype("float64"), problem.recipe.tv.form)
    found, gradient = objective.tv_and_gradient(variable)
    bound = 1e-12 if dtype == "float64" else 1e-5
    assert float(found) == pytest.approx(expected, rel=bound)
    assert relative(gradient[0].numpy(), problem.recipe.tv.weight * slope) <= bound


def test_xla_is_not_for_a_process_that_something_made_deterministic(not_deterministic, narrow_weights):
    images = [smooth_image(192, 192, seed) for seed in (1, 2)]
    problem = make_problem("default", narrow_weights, *images, dtype="float32", **{"pooling.kind": "max"})
    ours = backends.load("tf", device="cpu", fast=True)
    ours.objective(problem)
    assert ours.switches()["xla"]
    tf.config.experimental.enable_op_determinism()
    assert ours.switches()["deterministic"]
    assert np.isfinite(ours.objective(problem).evaluate(images[0]).gradient).all()
    assert not ours.switches()["xla"]


def test_onednn_computes_what_the_oracle_does(photo, painting, tmp_path):
    judged = {}
    for judge, onednn in (("tf", "1"), ("reference", "0")):
        arrays = tmp_path / f"{judge}.npz"
        command = [sys.executable, "-m", "nst", "evaluate", photo, painting, "--backend", judge]
        options = ["--weights", "embedded", "--size", "64", "--recipe", "gatys2016", "--save-arrays", arrays]
        subprocess.run([*command, *options], env=os.environ | {nst_tf.ONEDNN: onednn}, check=True, capture_output=True)
        judged[judge] = np.load(arrays)
    ours, theirs = judged["tf"], judged["reference"]
    for name in theirs.files:
        assert relative(ours[name], theirs[name]) <= (1e-2 if name == "gradient" else 5e-6), name


@pytest.mark.parametrize(("pooling", "tile"), [("average", "off"), ("max", "off"), ("average", 112)])
def test_xla_computes_what_the_oracle_does(pooling, tile, narrow_weights, not_deterministic, monkeypatch):
    monkeypatch.setattr(backend, "XLA_PIXELS", 112 * 112)
    images = [smooth_image(190, 200, seed) for seed in (1, 2, 3)]
    problem = make_problem("default", narrow_weights, *images[:2], dtype="float32", **{"pooling.kind": pooling})
    objective = backends.load("tf", device="cpu", fast=True, tile=tile).objective(problem)
    assert objective.xla
    ours, theirs = (judge.evaluate(images[2]) for judge in (objective, reference.Objective(problem)))
    for tap, gram in theirs.grams.items():
        assert relative(ours.grams[tap], gram) <= 1e-6, tap
        assert relative(ours.targets[tap], theirs.targets[tap]) <= 1e-6, tap
    for kind in ("content_terms", "style_terms"):
        for tap, value in getattr(theirs.losses, kind).items():
            assert getattr(ours.losses, kind)[tap] == pytest.approx(value, rel=1e-4), tap
    # A choice of maximum pooling, or of a rectifier, may flip.
    assert relative(ours.gradient, theirs.gradient) <= (1e-5 if pooling == "average" else 1e-2)


@pytest.mark.parametrize(("fast", "least"), [(False, 0), (True, 2**40), (True, 0)])
def test_what_an_objective_held_is_gone_once_garbage_is_collected(
    fast, least, narrow_weights, not_deterministic, monkeypatch
):
    """By TensorFlow alone, compiled by XLA, and by Winograd's algorithm too."""
    for module, name, value in ((backend, "XLA_PIXELS", 0), (spec, "PIXELS", least), (spec, "CHANNELS", 0)):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(vgg19, "WIDTHS", (0,))
    images = [smooth_image(33, 40, seed) for seed in (1, 2)]
    settings = {"pooling.kind": "max", "content.taps": "relu1_2", "style.taps": "relu2_1"}
    problem = make_problem("default", narrow_weights, *images, dtype="float32", **settings)
    objective = backends.load("tf", device="cpu", fast=fast).objective(problem)
    objective.evaluate(images[0].astype("float32"))
    graph = objective.loss_and_gradient.get_concrete_function(objective.variable(images[0])).graph
    held = [weakref.ref(thing) for thing in (objective, objective.network.layers["conv2_1"], graph)]
    assert isinstance(objective.network.layers["conv2_1"], winograd.Convolution) == (fast and not least)
    del objective, graph
    gc.collect()
    assert [reference() for reference in held] == [None, None, None]


@pytest.mark.parametrize("rounding", ["floor", "ceil"])
@pytest.mark.parametrize("sides", [(8, 6), (7, 6), (7, 9)])
def test_what_xla_compiles_of_maximum_pooling_is_tensorflows(sides, rounding):
    # Few values, so that many windows have equal maxima, at the completed border too.
    x = tf.cast(tf.random.stateless_uniform((1, *sides, 5), (0, 1), -2, 2, tf.int32), tf.float32)
    layers = [network._pooling_layer(Pooling(kind="max", rounding=rounding), xla=xla) for xla in (False, True)]
    slope = tf.random.stateless_normal(layers[0](x).shape, (0, 2))

    def both(layer):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
        return y, tape.gradient(y, x, output_gradients=slope)

    ours, theirs = (tf.function(lambda layer=layer: both(layer), autograph=False)() for layer in layers)
    compiled = tf.function(lambda: both(layers[1]), jit_compile=True, autograph=False)()
    for one in (theirs, compiled):
        np.testing.assert_array_equal(one[0], ours[0])
        np.testing.assert_array_equal(one[1], ours[1])


def test_a_small_image_is_not_worth_compiling(narrow_weights, not_deterministic):
    problem = make_problem("default", narrow_weights, *(smooth_image(64, 64, seed) for seed in (1, 2)), dtype="float32")
    loaded = backends.load("tf", device="cpu", fast=True)
    assert not loaded.objective(problem).xla
    assert not loaded.switches()["xla"]


def test_small_tiles_are_not_worth_compiling(narrow_weights, not_deterministic):
    images = [smooth_image(192, 192, seed) for seed in (1, 2)]
    problem = make_problem("default", narrow_weights, *images, dtype="float32", **{"style.taps": "relu2_1"})
    compiled = []
    for tile in (64, 192):
        loaded = backends.load("tf", device="cpu", fast=True, tile=tile)
        compiled.append((loaded.objective(problem).xla, loaded.switches()["xla"]))
    assert compiled == [(False, False), (True, True)]


def test_a_pair_larger_than_an_array_is_to_be_has_one_of_its_own(monkeypatch):
    monkeypatch.setattr(optimizers, "BLOCK_BYTES", 1)
    assert optimizers.LBFGS(recipe.LBFGS(), tf.Variable(np.zeros(12))).pairs_together == 1


def test_memory_is_given_back_before_garbage_is_collected_by_itself(narrow_weights):
    images = [smooth_image(32, 32, seed) for seed in (1, 2)]
    problem = make_problem("default", narrow_weights, *images, dtype="float32", **{"style.taps": "relu1_1"})
    objective = backends.load("tf", device="cpu").objective(problem)
    objective.evaluate(images[0])
    held = weakref.ref(objective)
    gc.disable()
    try:
        del objective
        memory.release("cpu")
        assert held() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("onednn", "expected"), [(True, memory.ONEDNN_WORKSPACE), (False, memory.WORKSPACE)], ids=["onednn", "eigen"]
)
def test_memory_is_planned_for_the_library_that_computes(onednn, expected, monkeypatch):
    monkeypatch.setattr(backend, "has_onednn", lambda: onednn)
    assert backends.load("tf", device="cpu")._workspace() == expected


def test_channels_first_in_keras_is_refused_with_the_way_on(monkeypatch):
    monkeypatch.setattr(backend.keras.config, "image_data_format", lambda: "channels_first")
    with pytest.raises(NstError, match=r"set_image_data_format\('channels_last'\)"):
        backends.load("tf", device="cpu")


@pytest.mark.parametrize(
    ("asked", "environment", "threads"), [(0, "", 7), (0, "0", 7), (0, "many", 7), (0, "3", 3), (2, "3", 2)]
)
def test_the_threads_are_those_that_tensorflow_takes(asked, environment, threads, monkeypatch):
    monkeypatch.setattr(tf.config.threading, "get_intra_op_parallelism_threads", lambda: asked)
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", environment)
    monkeypatch.setattr(cpu, "count", lambda: 7)
    assert backends.load("tf", device="cpu").switches()["threads"] == threads


def test_threads_that_tensorflow_takes_already_may_be_asked_for_while_it_runs(monkeypatch):
    monkeypatch.setattr(tf.config.threading, "get_intra_op_parallelism_threads", lambda: 0)
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "3")
    tf.zeros(1)
    assert backends.load("tf", device="cpu", threads=3).switches()["threads"] == 3
    with pytest.raises(NstError, match="already running"):
        backends.load("tf", device="cpu", threads=4)


@pytest.mark.parametrize(("environment", "threads"), [({}, "7"), ({"TF_NUM_INTRAOP_THREADS": "3"}, "3")])
def test_tensorflow_starts_as_many_threads_as_there_are_cpus_unless_it_is_told_how_many(
    environment, threads, monkeypatch
):
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cpu, "count", lambda: 7)
    with nst_tf.importing():
        pass
    assert os.environ["TF_NUM_INTRAOP_THREADS"] == threads


def test_what_a_tile_gives_back_is_not_computed_by_a_kernel_of_one_thread(narrow_weights):
    images = [smooth_image(80, 96, seed) for seed in (1, 2)]
    objective = backends.load("tf", device="cpu", tile=32).objective(make_problem("default", narrow_weights, *images))
    kinds = {operation.type for operation in objective._share.get_concrete_function().graph.get_operations()}
    assert "Slice" in kinds
    assert "StridedSliceGrad" not in kinds


def test_memory_is_planned_anew_where_tiles_are_too_small_for_xla(narrow_weights, not_deterministic, monkeypatch):
    monkeypatch.setattr(backend, "has_onednn", lambda: False)
    asked = []
    original = backend.Backend.planned
    monkeypatch.setattr(
        backend.Backend, "planned", lambda self, *given: asked.append(given[-1]) or original(self, *given)
    )
    images = [smooth_image(192, 192, seed) for seed in (1, 2)]
    problem = make_problem("default", narrow_weights, *images, dtype="float32", **{"style.taps": "relu2_1"})
    loaded = backends.load("tf", device="cpu", fast=True, tile=64)
    assert loaded.objective(problem).plan is loaded.plan
    assert asked == [memory.XLA_WORKSPACE, memory.WORKSPACE]


def test_winograds_algorithm_is_for_many_channels_in_and_out():
    arrays = weights.random_weights((64, 128)).arrays
    kinds = {"dtype": "float32", "image_dtype": "float32", "winograd": True}
    built = network.Network(arrays, ["relu2_2"], Pooling(), **kinds)
    assert [name for name, layer in built.layers.items() if isinstance(layer, winograd.Convolution)] == ["conv2_2"]


def test_a_graph_that_is_being_built_is_no_place_to_paint(narrow_file, photo, painting):
    inputs = {"weights": str(narrow_file), "size": 32, "backend": "tf", "say": lambda _: None}
    with tf.Graph().as_default(), pytest.raises(NstError, match=r"outside of tf\.function and tf\.Graph"):
        nst.stylize(photo, painting, steps=3, **inputs)
    with pytest.raises(NstError, match="building a graph"):
        tf.function(lambda: nst.evaluate(photo, painting, **inputs))()


def test_what_tensorflow_said_of_a_failed_import_is_shown():
    code = """
import os, nst_tf
with nst_tf.importing():
    os.write(2, b"the library says why")
    raise ImportError
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "the library says why" in done.stderr


def test_no_garbage_is_collected_meanwhile_with_or_without_a_terminal():
    code = """
import gc, os, sys, nst_tf
for stderr in (sys.stderr, None):
    sys.stderr = stderr
    with nst_tf.importing():
        print(gc.isenabled())
    print(gc.isenabled())
os.close(2)  # as Windows' programs without a console have it
with nst_tf.importing():
    print(gc.isenabled())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"] * 2 + ["False"]


def test_images_are_mapped_on_the_device_that_was_chosen():
    # The second of two, since what stands nowhere is computed on the first.
    code = """
from tests.conftest import make_problem, smooth_image
from nst_spec import backend, weights
from nst_tf import backend as ours
from nst_tf import objective
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
ours.TF_DEVICES["cpu"] = "/CPU:1"
places, to_neutral, zeros_like = [], objective.to_neutral, tf.zeros_like
objective.to_neutral = lambda tensor: places.append(tensor.device[-5:]) or to_neutral(tensor)
images = [smooth_image(32, 32, seed) for seed in (1, 2)]
taken = {"optimizer.kind": "adam"}
problem = make_problem("neural-style-tf", weights.random_weights((4, 6, 8, 8, 8)), *images, **taken)
judge = backend.load("tf", dtype="float64").objective(problem)
judge.evaluate(images[1])
descent = judge.descent(images[1])
descent.image(), descent.kept()
tf.zeros_like = lambda tensor: places.append(zeros_like(tensor).device[-5:]) or zeros_like(tensor)
descent.restore()
print(*places)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["CPU:1"] * 5, done.stderr


def test_a_step_whose_clamp_does_not_fit_is_not_taken_twice(monkeypatch):
    images = [smooth_image(48, 32, seed) for seed in (1, 2)]
    settings = {"optimizer.kind": "lbfgs", "clamp": "each-step"}
    problem = make_problem("default", weights.random_weights((4, 6, 8, 8, 8)), *images, **settings)
    descents = [
        FrugalDescent(backends.load("tf", dtype="float64"), problem, images[0], say=print, warn=print) for _ in range(2)
    ]
    for descent in descents:
        for _ in range(8):
            descent.evaluate()
            descent.update()
        descent.evaluate()
    descents[0].update()
    clip, calls = tf.clip_by_value, []

    def failing_at_first(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return clip(*arguments)

    monkeypatch.setattr(tf, "clip_by_value", failing_at_first)
    descents[1].update()
    assert len(calls) == 2
    np.testing.assert_array_equal(descents[1].image(), descents[0].image())


@pytest.mark.parametrize("form", ["mean-squared", "mean-squared-colour"])
def test_an_image_of_more_numbers_than_32_bits_can_count_is_counted(form):
    side = 26760  # 8.6 GB, of which a graph knows the shape alone
    traced = tf.function(lambda x: losses.total_variation(x, form), autograph=False)
    graph = traced.get_concrete_function(tf.TensorSpec((1, side, side, 3))).graph.as_graph_def()
    constants = [tf.make_ndarray(node.attr["value"].tensor) for node in graph.node if node.op == "Const"]
    assert pytest.approx(3 * side**2, rel=1e-6) in [float(c) for c in constants if c.ndim == 0]


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_gram_matrices_of_few_channels_lose_no_digits(channels):
    features = generator.uniform(1, (1024, 1024, channels)).astype("float32")
    for compiled in (False, True):
        gram = tf.function(lambda x: losses.gram(x, 2.0), jit_compile=compiled, autograph=False)(features[None])
        assert relative(gram, spec_losses.gram(features.astype(np.float64), 2.0)) <= 1e-7
