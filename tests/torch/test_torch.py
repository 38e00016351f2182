"""nst_torch against torchvision and torch.optim themselves."""

import gc
import itertools
import json
import os
import subprocess
import sys
import weakref

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torchvision.models import vgg19 as torchvision_vgg19  # noqa: E402

import nst  # noqa: E402
import nst_torch  # noqa: E402
from nst_spec import backend as backends  # noqa: E402
from nst_spec import cpu, generator, recipe, reference, vgg19, weights  # noqa: E402
from nst_spec.recipe import Pooling  # noqa: E402
from nst_spec.settings import Settings  # noqa: E402
from nst_torch import backend, losses, memory, network, optimizers, winograd  # noqa: E402
from tests.conftest import make_problem, quartic_gradient, relative  # noqa: E402


def build(arrays, taps=vgg19.TAPS, pooling=None, dtype=torch.float64, image_dtype=None, **options):
    kinds = {"dtype": dtype, "image_dtype": image_dtype or dtype, "device": torch.device("cpu"), **options}
    return network.Network(arrays, taps, pooling or Pooling(), **kinds)


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
    ids=["nothing", "how long", "how"],
)
def test_threads_do_not_wait_awake_for_long_unless_the_environment_says_how_to_wait(theirs, expected, monkeypatch):
    monkeypatch.setattr(os, "environ", theirs.copy())
    nst_torch.prepare(Settings())
    assert os.environ.get("GOMP_SPINCOUNT") == expected


def test_the_full_network_is_torchvisions():
    arrays = weights.random_weights().arrays
    with torch.device("meta"):
        original = torchvision_vgg19(weights=None).features
    original.load_state_dict(
        {
            f"{vgg19.torchvision_index(name)}.{part}": torch.tensor(arrays[f"{name}.{part}"])
            for name in vgg19.CONVOLUTIONS
            for part in ("weight", "bias")
        },
        assign=True,
    )
    original = original.to(memory_format=torch.channels_last)
    image = torch.randn(1, 3, 37, 50, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = dict(build(arrays, dtype=torch.float32)(image))
        x = image
        for index, layer in enumerate(original[:-1]):
            x = layer(x.clone())  # cloned, since its ReLU works in place
            name = vgg19.LAYERS[index]
            if name in features:
                torch.testing.assert_close(
                    features[name], x, rtol=0, atol=0, msg=lambda text, name=name: f"{name}: {text}"
                )
    assert len(features) == 32


def test_the_network_ends_at_the_deepest_tap(narrow_weights):
    built = build(narrow_weights.arrays, ["relu1_1", "conv2_1"])
    assert list(built.layers) == ["conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1", "conv2_1"]
    assert not any(parameter.requires_grad for parameter in built.parameters())


def test_a_raw_tap_is_not_rectified_by_the_layer_after_it(narrow_weights):
    image = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    features = dict(build(narrow_weights.arrays, ["conv1_1", "relu1_1"])(image))
    assert features["conv1_1"].min() < 0
    torch.testing.assert_close(features["conv1_1"].clamp(min=0), features["relu1_1"])


@pytest.mark.parametrize(("dtype", "image_dtype"), [("float64", "float64"), ("bfloat16", "float32")])
def test_a_gradient_reaches_the_image_through_what_was_rectified_in_place(dtype, image_dtype, narrow_weights):
    dtype, image_dtype = getattr(torch, dtype), getattr(torch, image_dtype)
    image = torch.randn(1, 3, 9, 8, dtype=image_dtype, generator=torch.Generator().manual_seed(0))
    taps = ["relu1_1", "conv1_2", "relu2_1"]
    built = build(narrow_weights.arrays, taps, dtype=dtype, image_dtype=image_dtype)
    # Where every layer is wanted, nothing is rectified in place.
    results = []
    for wanted in (taps, list(built.layers)):
        x = image.clone().requires_grad_()
        features = dict(built(x, wanted))
        assert [features[tap].dtype for tap in taps] == [dtype] * 3
        (slope,) = torch.autograd.grad(sum(features[tap].square().sum() for tap in taps), x)
        results.append([slope, *(features[tap].detach() for tap in taps)])
    torch.testing.assert_close(*results, rtol=0, atol=0)
    assert results[0][0].abs().max() > 0


def allocated(work, path):
    """The most bytes that PyTorch held at a time beyond what it began with."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    profile.export_chrome_trace(str(path))
    events = [event for event in json.loads(path.read_text())["traceEvents"] if event["name"] == "[memory]"]
    events.sort(key=lambda event: event["ts"])
    return max(itertools.accumulate(event["args"]["Bytes"] for event in events))


def test_the_way_back_begins_without_the_gradients_of_all_terms(tmp_path):
    recipe_taps = {"style.taps": ["relu1_1", "relu1_2", "relu2_1"], "content.taps": ["relu2_2", "relu3_1"]}
    images = [generator.uniform(seed, (128, 128, 3)) for seed in (1, 2)]
    problem = make_problem("default", weights.random_weights((8, 8, 8, 8, 8)), *images, **recipe_taps)
    objective = backends.load("torch", device="cpu", dtype="float32", fast=True).objective(problem)
    variable = objective.variable(images[0])
    layer = 4 * 8 * 128 * 128
    # In the first block: both rectified layers, the gradient that comes, what of it passes the rectifier, what goes on,
    # and a term's.
    assert allocated(lambda: objective.loss_and_gradient(variable), tmp_path / "trace.json") <= 6 * layer


@pytest.mark.parametrize(
    ("settings", "original"),
    [
        (recipe.Adam(lr=0.05), lambda x: torch.optim.Adam([x], lr=0.05)),
        (
            recipe.Adam(lr=0.05, beta1=0.5, epsilon=0.1),
            lambda x: torch.optim.Adam([x], lr=0.05, betas=(0.5, 0.999), eps=0.1),
        ),
        (recipe.SGD(lr=0.05), lambda x: torch.optim.SGD([x], lr=0.05)),
        (recipe.LBFGS(history=5), lambda x: torch.optim.LBFGS([x], max_iter=1, history_size=5)),
    ],
)
def test_update_rules_are_torchs(settings, original):
    ours = torch.linspace(-1, 2, 12, dtype=torch.float64)
    theirs = ours.clone().requires_grad_()
    update, step = optimizers.optimizer_for(settings, ours), original(theirs)

    def closure():
        theirs.grad = quartic_gradient(theirs.detach())
        return torch.tensor(1.0)

    for _ in range(15):
        update.update(quartic_gradient(ours))
        step.step(closure)
    np.testing.assert_array_equal(ours.numpy(), theirs.detach().numpy())


def test_the_gradient_that_a_gpu_s_lbfgs_was_given_may_be_overwritten_by_the_next():
    # As a recorded graph does.
    ours = torch.linspace(-1, 2, 12, dtype=torch.float64)
    theirs, gradient = ours.clone(), torch.empty_like(ours)
    update, expected = (optimizers._CompactLBFGS(recipe.LBFGS(), variable) for variable in (ours, theirs))
    for _ in range(6):
        update.update(gradient.copy_(quartic_gradient(ours.clone())))
        expected.update(quartic_gradient(theirs.clone()))
    np.testing.assert_array_equal(ours, theirs)


def test_painting_loads_no_more_than_torch_itself(narrow_file, photo, painting):
    code = """if True:
        import sys, nst
        for optimizer in ("adam", "lbfgs"):
            nst.stylize(*sys.argv[1:3], weights=sys.argv[3], size=32, steps=2, backend="torch", optimizer=optimizer)
        print(sorted({"torchvision", "torch._dynamo"} & set(sys.modules)))
    """
    command = [sys.executable, "-c", code, photo, painting, narrow_file]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("sides", "rounding"),
    [((6, 8), rounding) for rounding in ("floor", "ceil")]
    + [(sides, rounding) for sides in ((7, 8), (6, 9), (7, 9)) for rounding in ("floor", "ceil")],
)
def test_averages_of_our_own_are_the_poolings(sides, rounding):
    x = torch.from_numpy(generator.uniform(1, (1, *sides, 5))).permute(0, 3, 1, 2).requires_grad_()
    settings = {"kernel_size": 2, "ceil_mode": rounding == "ceil", "count_include_pad": False}
    layer = network._pooling_layer(Pooling(kind="average", rounding=rounding))
    pooled = torch.nn.functional.avg_pool2d(x, **settings), layer(x)
    slope = torch.from_numpy(generator.uniform(2, tuple(pooled[0].shape)))
    torch.testing.assert_close(*pooled, rtol=1e-15, atol=0)
    slopes = [torch.autograd.grad(y, x, slope)[0] for y in pooled]
    torch.testing.assert_close(*slopes, rtol=1e-15, atol=0)
    for tensor in (pooled[1], slopes[1]):
        assert tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("sides", [(6, 8), (7, 5), (1, 3)])
def test_the_gradient_of_the_first_convolution_is_a_product_too(sides):
    slope, kernel = (
        torch.from_numpy(generator.uniform(seed, size)) for seed, size in ((1, (1, 4, *sides)), (2, (4, 3, 3, 3)))
    )
    image = torch.zeros(1, 3, *sides, dtype=slope.dtype, requires_grad=True)
    output = torch.nn.functional.conv2d(image, kernel, padding=1)
    expected = torch.autograd.grad(output, image, slope)[0]
    torch.testing.assert_close(network._spread_by_product(slope, kernel), expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("tile", ["off", 32])
def test_an_objective_that_nobody_holds_is_gone_at_once(tile, narrow_weights):
    images = [generator.uniform(seed, (48, 64, 3)) for seed in (1, 2)]
    backend = backends.load("torch", device="cpu", tile=tile)
    objective = backend.objective(make_problem("default", narrow_weights, *images, dtype="float32"))
    descent = objective.descent(images[0])
    descent.evaluate()
    held = weakref.ref(objective)
    gc.disable()  # its memory is wanted before the garbage is looked at
    try:
        del objective, descent
        assert held() is None
    finally:
        gc.enable()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="takes a GPU")
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_a_recorded_evaluation_has_the_bits_of_the_one_it_was_recorded_from(precision, narrow_weights):
    images = [generator.uniform(seed, (96, 80, 3)) for seed in (1, 2, 3)]
    problem = make_problem("default", narrow_weights, *images[:2], dtype="float32")
    recorded, plain = (
        backends.load("torch", device="cuda", precision=precision, fast=fast).objective(problem)
        for fast in (True, False)
    )
    assert recorded.recorded
    assert not plain.recorded
    for image in images[1:]:
        found = [objective.evaluate(image.astype("float32")) for objective in (recorded, plain)]
        np.testing.assert_array_equal(*(evaluation.gradient for evaluation in found))
        assert found[0].losses == found[1].losses


@pytest.mark.parametrize("is_intel", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_tile_that_owns_nothing_adds_nothing(dtype, is_intel, monkeypatch):
    monkeypatch.setattr(cpu, "is_intel", lambda: is_intel)
    features = torch.zeros(1, 8, 1, 0, dtype=dtype, requires_grad=True)
    gram = losses.gram(features, 4.0)
    np.testing.assert_array_equal(gram.detach(), np.zeros((8, 8)))
    (slope,) = torch.autograd.grad(gram.sum(), features)
    assert slope.shape == features.shape


@pytest.mark.parametrize("is_intel", [True, False])
@pytest.mark.parametrize(("dtype", "digits"), [(torch.float32, 1e-7), (torch.bfloat16, 2e-7)])
def test_a_sum_over_many_positions_keeps_float32s_digits(dtype, digits, is_intel, monkeypatch):
    monkeypatch.setattr(cpu, "is_intel", lambda: is_intel)
    features = torch.from_numpy(generator.uniform(1, (1, 512, 512, 64))).to(dtype).permute(0, 3, 1, 2)
    flat = features.double().flatten(2)[0]
    assert relative(losses.gram(features, 1.0), flat @ flat.T) <= digits


@pytest.mark.parametrize("is_intel", [True, False])
def test_the_gradient_of_a_gram_matrix_has_the_features_layout(is_intel, monkeypatch):
    monkeypatch.setattr(cpu, "is_intel", lambda: is_intel)
    features = torch.from_numpy(generator.uniform(1, (1, 5, 7, 8))).permute(0, 3, 1, 2).requires_grad_()
    slope = torch.from_numpy(generator.uniform(2, (8, 8)))
    (received,) = torch.autograd.grad(losses.gram(features, 4.0), features, slope)
    assert received.is_contiguous(memory_format=torch.channels_last)
    expected = torch.einsum("ij,njhw->nihw", (slope + slope.T) / 4, features)
    torch.testing.assert_close(received, expected, rtol=1e-13, atol=0)


@pytest.mark.skipif(not hasattr(torch.backends.mkldnn, "matmul"), reason="PyTorch before 2.9 has no such switch")
def test_gram_matrices_of_bfloat16_touch_no_switch_that_other_threads_share(monkeypatch):
    said = []

    class Switch:
        fp32_precision = property(lambda self: "ieee", lambda self, precision: said.append(precision))

    monkeypatch.setattr(torch.backends.mkldnn, "matmul", Switch())
    gram = losses.gram(torch.ones(1, 8, 4, 4, dtype=torch.bfloat16), 1.0)
    assert said == []
    torch.testing.assert_close(gram, torch.full((8, 8), 16.0))


@pytest.mark.parametrize(("ours", "theirs", "faster"), [([9, 2, 9], [5, 3, 5], True), ([2, 9, 3], [8, 1, 8], False)])
def test_winograds_algorithm_is_timed_beside_a_plain_convolution(ours, theirs, faster, monkeypatch):
    clock, threads = [0], []
    before = torch.get_num_threads()

    def lasting(*ticks):
        left = iter(ticks)

        def convolve(*_, **__):
            clock.append(clock[-1] + next(left))
            threads.append(torch.get_num_threads())

        return convolve

    monkeypatch.setattr(winograd, "convolution", lasting(*ours))
    monkeypatch.setattr(winograd.functional, "conv2d", lasting(*theirs))
    monkeypatch.setattr(winograd.time, "thread_time", lambda: clock[-1])
    torch.set_num_threads(2)
    try:
        assert winograd.is_faster.__wrapped__() is faster
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert threads == [1] * 6


@pytest.mark.parametrize(
    ("is_faster", "settings", "taken"),
    [(True, {}, True), (False, {}, False), (True, {"deterministic": True}, False), (True, {"fast": False}, False)],
)
def test_winograds_algorithm_is_taken_where_it_is_faster(is_faster, settings, taken, monkeypatch):
    monkeypatch.setattr(winograd, "is_faster", lambda: is_faster)
    monkeypatch.setattr(backend, "Objective", lambda *_, **options: options["winograd"])
    images = [np.zeros((256, 256, 3), np.float32)] * 2
    taps = {"content.taps": "relu1_2", "style.taps": "relu1_1"}
    problem = make_problem("default", weights.random_weights((64,)), *images, dtype="float32", **taps)
    assert backends.load("torch", device="cpu", **{"fast": True} | settings).objective(problem) is taken


def test_winograds_algorithm_is_for_many_channels_in_and_out():
    built = build(weights.random_weights((64, 128)).arrays, ["relu2_2"], winograd=True)
    names = [name for name, layer in built.layers.items() if getattr(layer, "transformed", None) is not None]
    assert names == ["conv2_2"]


@pytest.mark.parametrize("sides", [(1, 1), (2, 7), (300, 5), (5, 300), (64, 65)])
def test_winograds_algorithm_gives_the_plain_sum_in_blocks_of_any_rows(sides):
    x, kernel, bias = (
        torch.from_numpy(generator.uniform(seed, shape))
        for seed, shape in enumerate([(1, *sides, 5), (3, 3, 5, 4), (4,)])
    )
    x, kernel = x.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1)
    received = winograd.convolution(x, winograd.transformed(kernel), bias)
    assert received.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(received, torch.conv2d(x, kernel, bias, padding=1), rtol=0, atol=1e-12)


def test_errors_of_bfloat16_are_summed_in_float32():
    values = torch.full((1, 8, 16, 16), 1.0078125, dtype=torch.bfloat16)
    error = losses.squared_error(values, torch.zeros_like(values), 1.0)
    assert error.dtype == torch.float32
    assert error.item() == 2048 * 1.0078125**2


@pytest.fixture
def settings_stay():
    """What a test tells PyTorch's whole process is not told to the next."""
    has_switches = hasattr(torch.backends, "fp32_precision")  # PyTorch from 2.9 on
    kinds = (torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv, torch.backends) if has_switches else ()
    before = [kind.fp32_precision for kind in kinds]
    yield
    torch.set_float32_matmul_precision("highest")
    for kind, precision in zip(kinds, before, strict=True):
        kind.fp32_precision = precision
    torch.set_grad_enabled(True)
    backend.configure(None, "fp32", False)


def tell_matmul():
    torch.set_float32_matmul_precision("medium")


def tell_convolutions():
    torch.backends.mkldnn.conv.fp32_precision = "bf16"


def tell_all():
    torch.backends.fp32_precision = "tf32"


@pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="PyTorch before 2.9 has no such switches")
@pytest.mark.parametrize("tell", [tell_matmul, tell_convolutions, tell_all])
def test_float32_is_float32_whatever_the_process_was_told_before(tell, narrow_weights, settings_stay):
    tell()
    images = [generator.uniform(seed, (40, 48, 3)) for seed in (1, 2, 3)]
    problem = make_problem("default", narrow_weights, *images[:2], dtype="float32")
    loaded = backends.load("torch", device="cpu")
    received, expected = (
        judge.evaluate(images[2]) for judge in (loaded.objective(problem), reference.Objective(problem))
    )
    assert loaded.switches()["tf32"] is False
    assert torch.backends.mkldnn.matmul.fp32_precision == torch.backends.mkldnn.conv.fp32_precision == "ieee"
    assert relative(received.gradient, expected.gradient) <= 1e-5


@pytest.mark.parametrize("tile", ["off", 32])
def test_gradients_that_the_caller_has_switched_off_are_computed(tile, narrow_weights, settings_stay):
    images = [generator.uniform(seed, (40, 48, 3)) for seed in (1, 2, 3)]
    problem = make_problem("pytorch-blog", narrow_weights, *images[:2])
    objective = backends.load("torch", device="cpu", dtype="float64", tile=tile).objective(problem)
    expected = objective.evaluate(images[2]).gradient
    torch.set_grad_enabled(False)
    np.testing.assert_array_equal(objective.evaluate(images[2]).gradient, expected)
    if tile == "off":
        assert objective.passes(images[2]).gradients["input"].any()
    assert not torch.is_grad_enabled()


@pytest.mark.parametrize(
    "mode", [torch.inference_mode, torch.no_grad, lambda: torch.autocast("cpu", dtype=torch.bfloat16)]
)
def test_modes_of_the_program_that_calls_change_nothing(mode, narrow_file, photo, painting, settings_stay):
    inputs = {"weights": str(narrow_file), "size": 32, "backend": "torch", "say": lambda _: None}
    painted = nst.stylize(photo, painting, steps=3, precision="fp32", **inputs)
    judged = nst.evaluate(photo, painting, **inputs)
    with mode():
        again = nst.stylize(photo, painting, steps=3, precision="fp32", **inputs)
        gradient = nst.evaluate(photo, painting, **inputs).evaluation.gradient
        assert torch.is_inference_mode_enabled() is (mode is torch.inference_mode)
    assert again.losses == painted.losses
    np.testing.assert_array_equal(again.image, painted.image)
    np.testing.assert_array_equal(gradient, judged.evaluation.gradient)


def test_what_a_tile_gives_back_has_the_features_layout(narrow_weights, monkeypatch):
    images = [generator.uniform(seed, (64, 96, 3)) for seed in (1, 2)]
    objective = backends.load("torch", device="cpu", dtype="float64", tile=32).objective(
        make_problem("default", narrow_weights, *images)
    )
    image = objective.variable(images[0])
    piece = objective.pieces(image)[0]
    crop = image[:, :, *piece.crop]
    seen = crop.clone(memory_format=torch.channels_last).requires_grad_(True)
    monkeypatch.setattr(objective, "network", lambda crop, taps: [(tap, seen) for tap in taps])
    ((_, owned),) = objective.owned(crop, piece, ["relu1_1"])
    assert owned.shape[2:] == (32, 32) != seen.shape[2:]
    (slope,) = torch.autograd.grad(owned.square().sum(), seen)
    assert slope.is_contiguous(memory_format=torch.channels_last)
    assert slope[:, :, :32, :32].all()
    assert torch.count_nonzero(slope) == 3 * 32 * 32


def test_the_threads_are_set_and_determinism_is_the_last_ones(settings_stay, monkeypatch):
    told = []
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    assert backends.load("torch", device="cpu", threads=3, deterministic=True).switches()["deterministic"] is True
    assert backends.load("torch", device="cpu").switches()["deterministic"] is False
    assert told == [3]


@pytest.mark.parametrize(("asked", "cpus", "told"), [(None, 2, [2]), (None, 4, []), (3, 2, [3]), (4, 2, [])])
def test_there_are_no_more_threads_than_cpus_unless_they_are_asked_for(asked, cpus, told, settings_stay, monkeypatch):
    received = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(torch, "set_num_threads", received.append)
    monkeypatch.setattr(cpu, "count", lambda: cpus)
    backends.load("torch", device="cpu", threads=asked)
    assert received == told


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: not enough memory: you tried to allocate", True),
        ("std::bad_alloc", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("MPS backend out of memory", True),
        ("Invalid buffer size: 19.38 GiB", True),
        ("could not create a primitive", True),
        ("posix_memalign failed:Cannot allocate memory (12)", True),
        ("mat1 and mat2 shapes cannot be multiplied", False),
    ],
)
def test_what_allocators_say_is_known(text, short):
    assert memory.ran_out(RuntimeError(text)) is short
    assert not memory.ran_out(ValueError(text))


@pytest.mark.parametrize(("dtype", "expected"), [("float32", memory.WORKSPACE), ("float64", memory.DOUBLE_WORKSPACE)])
def test_a_cpu_is_planned_to_lay_out_windows_in_float64_alone(dtype, expected):
    assert backends.load("torch", device="cpu", dtype=dtype)._workspace() == expected


@pytest.mark.parametrize("theirs", [None, ":16:8"])
def test_a_deterministic_run_has_a_workspace_of_cublas_that_is_its_own(theirs, monkeypatch):
    monkeypatch.setattr(os, "environ", {} if theirs is None else {"CUBLAS_WORKSPACE_CONFIG": theirs})
    backends.load("torch", device="cpu", deterministic=True)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == (theirs or ":4096:8")


def test_what_a_tile_gave_is_gone_before_the_next(narrow_weights, monkeypatch):
    images = [generator.uniform(seed, (96, 80, 3)) for seed in (1, 2)]
    objective = backends.load("torch", device="cpu", tile=32).objective(
        make_problem("default", narrow_weights, *images, dtype="float32")
    )
    original, given = objective._share, []

    def share(*arguments):
        assert not any(tensor() is not None for tensor in given)
        values, of_crop, grams = original(*arguments)
        given.extend(weakref.ref(tensor) for tensor in (of_crop, *grams.values()))
        return values, of_crop, grams

    monkeypatch.setattr(objective, "_share", share)
    objective.evaluate(images[1].astype("float32"))
    assert len(given) == 9 * (1 + 5)  # a crop's gradient and five Gram matrices of each of 3 x 3 tiles


def test_amds_gpus_are_not_taken_for_nvidias(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (10, 3))
    for version, gains in (("13.0", True), (None, False)):
        monkeypatch.setattr(torch.version, "cuda", version)
        assert backend.gains_by_bf16("cuda") is gains


def test_apples_gpu_has_no_more_memory_than_the_host(monkeypatch):
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 100)
    monkeypatch.setattr(torch.mps, "current_allocated_memory", lambda: 30)
    for of_host, free in ((50, 50), (90, 70)):
        monkeypatch.setattr(memory, "free_on_host", lambda of_host=of_host: of_host)
        assert memory.free("mps") == free
