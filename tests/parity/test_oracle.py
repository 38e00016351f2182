"""Both backends against the oracle: every size, pooling and tap, ties, and twenty steps of each optimiser."""

import dataclasses

import numpy as np
import pytest

from compare.diff import diff
from compare.record import record
from nst_spec import backend as backends
from nst_spec import generator, recipe, reference, vgg19, weights
from nst_spec.errors import NstError
from nst_spec.images import Picture
from nst_spec.inputs import Inputs
from tests.conftest import automatic_precision, make_problem, relative, smooth_image

FLOAT64 = 1e-11

# Odd, tall, wide, not multiples of 16, and the smallest legal.
SIZES = [(35, 50), (64, 17), (16, 16), (48, 32)]


def check_agreement(received, expected, problem):
    assert set(received.grams) == set(problem.recipe.style.taps)
    for tap in problem.recipe.style.taps:
        assert relative(received.grams[tap], expected.grams[tap]) <= FLOAT64, f"gram/{tap}"
        assert relative(received.targets[tap], expected.targets[tap]) <= FLOAT64, f"target/{tap}"
    for kind in ("content_terms", "style_terms"):
        for tap, value in getattr(expected.losses, kind).items():
            # A term that is nearly zero is judged beside the energy that it is a difference of.
            scale = max(abs(value), energy(problem, kind, tap))
            assert abs(getattr(received.losses, kind)[tap] - value) <= FLOAT64 * scale, f"{kind}/{tap}"
    assert received.losses.tv == pytest.approx(expected.losses.tv, rel=FLOAT64)
    assert relative(received.gradient, expected.gradient) <= FLOAT64


def energy(problem, kind, tap):
    oracle = reference.Objective(problem)
    if kind == "content_terms":
        return oracle.content_factors[tap] * np.sum(oracle.content_targets[tap] ** 2)
    return oracle.style_factors[tap] * np.sum(oracle.style_targets[tap] ** 2)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize("rounding", ["floor", "ceil"])
def test_every_size_and_pooling(size, kind, rounding, backend, narrow_weights):
    content, style, image = (smooth_image(*size, seed) for seed in (1, 2, 3))
    settings = {"pooling.kind": kind, "pooling.rounding": rounding, "content.taps": "relu5_4"}
    problem = make_problem("gatys2016", narrow_weights, content, style, **settings)
    received, expected = backend().objective(problem).evaluate(image), reference.Objective(problem).evaluate(image)
    check_agreement(received, expected, problem)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize("rounding", ["floor", "ceil"])
def test_every_size_and_pooling_in_single_precision(size, kind, rounding, backend, narrow_weights):
    content, style = (Picture(smooth_image(*size, seed), f"{seed}.png", "") for seed in (1, 2))
    settings = {"pooling.kind": kind, "pooling.rounding": rounding, "content.taps": "relu5_4", "size.style_rule": "own"}
    chosen = recipe.override(recipe.load("gatys2016"), settings | {"size.rule": "long-edge", "size.pixels": max(size)})
    inputs = Inputs(content, (style,), narrow_weights, "caffe")
    traces = [
        record(instance, chosen, inputs, version="0", runs=False)
        for instance in (backend("float32"), backends.load("reference", dtype="float32"))
    ]
    found = diff(*traces)
    assert found.ok, f"{found.first}; {found.hint}"
    assert found.content_size == size[::-1]


def test_single_precision_in_full_width(backend):
    content, style = (smooth_image(24, 32, seed) for seed in (1, 2))
    problem = make_problem("gatys2016", weights.random_weights(), content, style, dtype="float32")
    received, expected = (
        backend("float32").objective(problem).passes(content),
        reference.Objective(problem).passes(content),
    )
    errors = {layer: relative(received.outputs[layer], expected.outputs[layer]) for layer in expected.outputs}
    assert max(errors.values()) <= 1.5e-6, errors


@pytest.mark.parametrize("taps", ["conv", "relu"])
def test_every_tap(taps, backend, narrow_weights):
    chosen = [tap for tap in vgg19.TAPS if tap.startswith(taps)]
    images = [smooth_image(33, 33, seed) for seed in (1, 2, 3)]
    problem = make_problem("default", narrow_weights, *images[:2], **{"content.taps": chosen, "style.taps": chosen})
    received, expected = backend().objective(problem), reference.Objective(problem)
    check_agreement(received.evaluate(images[2]), expected.evaluate(images[2]), problem)
    ours, theirs = received.passes(images[2]), expected.passes(images[2])
    assert list(ours.outputs) == list(ours.gradients) == ["input", *vgg19.layers_to(chosen)]
    for layer in ours.outputs:
        assert relative(ours.outputs[layer], theirs.outputs[layer]) <= FLOAT64, layer
        assert relative(ours.gradients[layer], theirs.gradients[layer]) <= FLOAT64, layer


@pytest.mark.parametrize("term", ["gatys", "image-size"])
def test_terms_are_divided_by_the_sizes_of_the_content_image(term, backend, narrow_weights, eager):
    content, style, image = smooth_image(35, 50, 1), smooth_image(40, 24, 2), smooth_image(35, 50, 3)
    problem = make_problem("gatys2016", narrow_weights, content, style, **{"style.term": term})
    received, expected = backend().objective(problem).evaluate(image), reference.Objective(problem).evaluate(image)
    check_agreement(received, expected, problem)
    if term == "image-size":  # over 4 x 9 times the pixels' square, by hand
        tap, weight = next(iter(problem.recipe.style.taps.items()))
        difference = expected.grams[tap] - expected.targets[tap]
        by_hand = weight * np.sum(difference**2) / (4 * 9 * (35 * 50) ** 2)
        assert received.losses.style_terms[tap] == pytest.approx(by_hand, rel=1e-10)


@pytest.mark.parametrize("tile", ["off", 32])
@pytest.mark.parametrize(("blend", "shares"), [((), (1 / 3, 1 / 3, 1 / 3)), ((3, 0, 1), (0.75, 0, 0.25))])
def test_several_style_images_are_matched_by_a_blend_of_their_gram_matrices(
    blend, shares, tile, backend_name, device, narrow_weights
):
    content, *styles, image = (smooth_image(35, side, seed) for seed, side in enumerate((50, 24, 64, 40, 50)))
    one_by_one = [make_problem("gatys2016", narrow_weights, content, style) for style in styles]
    problem = make_problem("gatys2016", narrow_weights, content, styles[0], **{"style.blend": list(blend)})
    problem = dataclasses.replace(problem, styles=tuple(styles))
    loaded = backends.load(backend_name, device=device, dtype="float64", tile=tile)
    received, expected = (make(problem).evaluate(image) for make in (loaded.objective, reference.Objective))
    check_agreement(received, expected, problem)
    alone = [reference.Objective(one).evaluate(image).targets for one in one_by_one]
    for tap in problem.recipe.style.taps:
        by_hand = np.average([targets[tap] for targets in alone], axis=0, weights=shares)
        assert relative(received.targets[tap], by_hand) <= FLOAT64, tap


def test_the_gradient_by_the_networks_input_is_without_the_total_variation(backend, narrow_weights, eager):
    images = [smooth_image(16, 16, seed) for seed in (1, 2, 3)]
    problem = make_problem("pytorch-blog", narrow_weights, *images[:2], **{"tv.weight": 1e3, "tv.form": "l1"})
    ours, theirs = backend().objective(problem).passes(images[2]), reference.Objective(problem).passes(images[2])
    assert relative(ours.gradients["input"], theirs.gradients["input"]) <= FLOAT64


def awkward(kind, size=32):
    y, x = np.mgrid[0:size, 0:size]
    values = {
        "black": np.zeros((size, size)),
        "white": np.ones((size, size)),
        "grey": np.full((size, size), 0.5),
        "checkerboard": (y + x) % 2.0,
        "stripes": (x // 4) % 2.0,
        "noise": generator.integers(1, size * size).reshape(size, size) % 2 * 1.0,
    }[kind]
    return np.repeat(values[..., None], 3, axis=2)


@pytest.mark.parametrize("kind", ["black", "white", "grey", "checkerboard", "stripes", "noise"])
@pytest.mark.parametrize("pooling", ["max", "average"])
def test_ties_are_broken_alike(kind, pooling, backend, narrow_weights):
    # Exact weights, so that what is flat stays exactly flat whatever the order of summation.
    coarse = {name: np.round(array * 64) / 64 for name, array in narrow_weights.arrays.items()}
    weights = type(narrow_weights)("coarse", coarse, None, "")
    content, style = smooth_image(32, 32, 1), smooth_image(32, 32, 2)
    problem = make_problem("pytorch-blog", weights, content, style, **{"pooling.kind": pooling})
    image = awkward(kind)
    received, expected = backend().objective(problem).evaluate(image), reference.Objective(problem).evaluate(image)
    check_agreement(received, expected, problem)


def narrow_run(backend_instance, problem, steps):
    descent = backend_instance.objective(problem).descent(problem.content)
    losses = []
    for _ in range(steps):
        losses.append(descent.evaluate().total)
        descent.update()
    return descent.image(), losses


OPTIMIZERS = {
    "adam": {"optimizer.kind": "adam", "optimizer.lr": 0.02},
    "adam-hat": {
        "optimizer.kind": "adam",
        "optimizer.lr": 0.02,
        "optimizer.convention": "hat",
        "optimizer.epsilon": 1e-4,
    },
    "lbfgs": {"optimizer.kind": "lbfgs"},
    "lbfgs-short": {"optimizer.kind": "lbfgs", "optimizer.history": 3},
    "sgd": {"optimizer.kind": "sgd", "optimizer.lr": 1e-3, "optimizer.decay_rate": 0.9, "optimizer.decay_steps": 7},
}


@pytest.mark.parametrize("clamp", ["none", "each-step"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_twenty_steps_in_float64(optimizer, clamp, backend, narrow_weights):
    content, style = smooth_image(32, 40, 1), smooth_image(36, 32, 2)
    settings = OPTIMIZERS[optimizer] | {"clamp": clamp, "tv.weight": 0.01}
    problem = make_problem("default", narrow_weights, content, style, **settings)
    image, losses = narrow_run(backend(), problem, 20)
    oracle_image, oracle_losses = narrow_run(backends.load("reference"), problem, 20)
    assert relative(image, oracle_image) <= 1e-8
    np.testing.assert_allclose(losses, oracle_losses, rtol=1e-8)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs", "sgd"])
def test_restoring_goes_back_to_the_kept_image_with_a_fresh_optimiser(optimizer, backend, narrow_weights, eager):
    content, style = smooth_image(16, 16, 1), smooth_image(16, 16, 2)
    problem = make_problem("default", narrow_weights, content, style, **OPTIMIZERS[optimizer])
    descent = backend().objective(problem).descent(content)
    first = descent.evaluate().total
    descent.keep()
    descent.update()
    after_one = descent.image()
    for _ in range(4):
        descent.evaluate()
        descent.update()
    descent.restore()
    np.testing.assert_array_equal(descent.image(), descent.kept())
    assert relative(descent.image(), content) < 1e-15
    assert descent.evaluate().total == first
    descent.update()
    assert relative(descent.image(), after_one) < 1e-14


def test_an_optimisation_goes_on_from_another_image_with_its_state(backend, narrow_weights):
    content, style, other = (smooth_image(16, 16, seed) for seed in (1, 2, 3))
    problem = make_problem("default", narrow_weights, content, style, **OPTIMIZERS["adam"], clamp="none")
    images = []
    for instance in (backend(), backends.load("reference", dtype="float64")):
        descent = instance.objective(problem).descent(content)
        for _ in range(3):
            descent.evaluate()
            descent.update()
        descent.place(other)
        np.testing.assert_allclose(descent.image(), other, rtol=1e-14, atol=1e-15)
        descent.evaluate()
        descent.update()
        images.append(descent.image())
    assert relative(*images) < 1e-12
    # The first step of a fresh Adam is as long as its rate everywhere; one with a past is not.
    assert np.ptp(np.abs(images[0] - other)) > 1e-3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "fp16"}, "precision: received 'fp16'; accepted: auto, fp32, tf32, bf16"),
        ({"precision": "bf16", "dtype": "float64"}, "precision bf16: expected dtype float32, received float64"),
        ({"precision": "tf32", "device": "cpu"}, "precision tf32: expected device cuda, received cpu"),
    ],
)
def test_a_precision_that_cannot_be_is_refused(settings, message, backend_name):
    with pytest.raises(NstError, match=message):
        backends.load(backend_name, **settings)


def test_auto_is_what_is_fastest_on_the_machine_and_only_in_float32(backend_name):
    found = backends.load(backend_name, device="cpu", precision="auto")
    assert found.precision == automatic_precision(backend_name)
    assert backends.load(backend_name, device="cpu", precision="auto", dtype="float64").precision == "fp32"


@pytest.mark.parametrize(
    ("requested", "dtype", "gains", "chosen"),
    [
        ("auto", "float32", True, "bf16"),
        ("auto", "float32", False, "fp32"),
        ("auto", "float64", True, "fp32"),
        ("fp32", "float32", True, "fp32"),
        ("bf16", "float32", False, "bf16"),
    ],
)
def test_the_precision_follows_the_hardware_only_if_that_was_asked_for(requested, dtype, gains, chosen):
    assert backends.choose_precision(requested, "cpu", dtype, lambda device: gains) == chosen


def test_a_bfloat16_run_reads_the_image_with_all_its_digits(backend_name, device, narrow_weights):
    content, style, image = (smooth_image(48, 56, seed) for seed in (1, 2, 3))
    problem = make_problem("default", narrow_weights, content, style, dtype="float32")
    exact, reduced = (
        backends.load(backend_name, device=device, precision=p).objective(problem).passes(image.astype("float32"))
        for p in ("fp32", "bf16")
    )
    assert relative(reduced.outputs["conv1_1"], exact.outputs["conv1_1"]) <= 1e-6
    rectified = np.maximum(reduced.outputs["conv1_1"], 0)
    np.testing.assert_array_equal(reduced.outputs["relu1_1"], to_bfloat16(rectified))
    assert 5e-4 < relative(reduced.outputs["conv1_2"], exact.outputs["conv1_2"]) < 1e-2


def to_bfloat16(array):
    """float32 numbers rounded to the upper half of their bits, ties to even."""
    bits = array.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_bfloat16_run_arrives_where_a_float32_run_does(seed, backend_name, device, narrow_weights):
    # At 32 x 40 px runs end up to 2.2% above or below, at 64 x 80 px 0.7% (six seeds).
    content, style = smooth_image(64, 80, seed), smooth_image(68, 72, seed + 20)
    exact, reduced = (backends.load(backend_name, device=device, precision=p) for p in ("fp32", "bf16"))
    objectives = []
    images = []
    for instance in (exact, reduced):
        # L-BFGS multiplies any rounding: two float32 runs a millionth apart end up to 5% apart. So does Adam at twice
        # this rate: two that start 0.002 apart, 2.5%.
        adam = {"optimizer.kind": "adam", "optimizer.lr": 0.01}
        problem = make_problem("default", narrow_weights, content, style, "float32", **adam)
        objectives.append(instance.objective(problem))
        descent = objectives[-1].descent(content.astype("float32"))
        for _ in range(60):
            descent.evaluate()
            descent.update()
        images.append(descent.image())
    start, full, bf16 = (objectives[0].evaluate(image).losses.total for image in (content.astype("float32"), *images))
    assert full < start / 2
    assert bf16 == pytest.approx(full, rel=0.02)
    # The image, its gradient and the optimiser's state are float32; the runs differ all the same.
    assert images[1].dtype == np.float32
    assert relative(*images) > 1e-5


def test_bfloat16_asks_for_no_other_rounding(backend_name):
    assert backends.load(backend_name, device="cpu", precision="bf16").switches()["tf32"] is False


@pytest.mark.parametrize(
    ("requested", "device", "dtype", "message"),
    [
        ("fp32", "mps", "float64", "device mps computes in float32 alone"),
        ("tf32", "cuda", "float64", "precision tf32: expected dtype float32, received float64"),
    ],
)
def test_a_device_that_cannot_compute_as_asked_is_refused(requested, device, dtype, message):
    with pytest.raises(NstError, match=message):
        backends.choose_precision(requested, device, dtype, lambda device: True)


def test_the_first_device_is_the_fastest():
    assert backends.choose_device("auto", ("cuda", "cpu"), "float64", backend="torch") == "cuda"


@pytest.mark.parametrize(
    ("requested", "dtype", "device"),
    [("auto", "float32", "mps"), ("auto", "float64", "cpu"), ("mps", "float64", "mps")],
)
def test_a_device_without_float64_is_none_for_it_unless_it_is_asked_for(requested, dtype, device):
    assert backends.choose_device(requested, ("mps", "cpu"), dtype, backend="torch") == device


def test_what_is_returned_is_the_callers(backend, narrow_weights):
    images = [smooth_image(16, 16, seed) for seed in (1, 2)]
    problem = make_problem("default", narrow_weights, *images)
    objective = backend().objective(problem)
    first = objective.evaluate(images[0])
    for array in first.targets.values():
        if array.flags.writeable:
            array[:] = 0
    assert objective.evaluate(images[0]).losses == first.losses


def test_the_switches_are_those_that_were_asked_for(backend_name):
    loaded = backends.load(backend_name, device="cpu", deterministic=True)
    switches = loaded.switches()
    assert switches["tf32"] is False
    assert switches["deterministic"] is True
    assert switches["threads"] >= 1


def test_arguments_are_left_alone(backend, narrow_weights):
    content, style = smooth_image(16, 16, 1), smooth_image(16, 16, 2)
    before = content.copy(), style.copy()
    problem = make_problem("default", narrow_weights, content, style)
    descent = backend().objective(problem).descent(content)
    descent.evaluate()
    descent.update()
    np.testing.assert_array_equal(content, before[0])
    np.testing.assert_array_equal(style, before[1])
