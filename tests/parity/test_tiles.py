"""Tiled against untiled, in both backends: the same losses, Gram matrices and gradient."""

import numpy as np
import pytest

from nst_spec import backend as backends
from nst_spec import recipe, reference, vgg19, weights
from nst_spec.errors import NstError
from tests.conftest import make_problem, relative, smooth_image

FLOAT64 = 1e-11
FLOAT32 = 1e-5


@pytest.fixture(scope="module")
def slender_weights():
    """Random weights for the margins of the full network at little cost."""
    return weights.random_weights((4, 6, 8, 8, 8))


def both(backend_name, device, problem, image, tile, **settings):
    """The image judged whole and in tiles."""
    return [
        backends.load(backend_name, device=device, tile=chosen, **settings).objective(problem).evaluate(image)
        for chosen in ("off", tile)
    ]


def assert_same(whole, tiled, limit):
    assert relative(tiled.gradient, whole.gradient) <= limit
    for tap, gram in whole.grams.items():
        assert relative(tiled.grams[tap], gram) <= limit, tap
        assert relative(tiled.targets[tap], whole.targets[tap]) <= limit, tap
    for kind in ("content_terms", "style_terms"):
        for tap, value in getattr(whole.losses, kind).items():
            assert getattr(tiled.losses, kind)[tap] == pytest.approx(value, rel=10 * limit), tap
    assert tiled.losses.total == pytest.approx(whole.losses.total, rel=10 * limit)
    assert tiled.losses.tv == whole.losses.tv


# Divided evenly, by the grid alone, and by neither; a tile as large as the image; a style image of another size.
@pytest.mark.parametrize(("size", "tile"), [((128, 96), 32), ((112, 80), 64), ((99, 131), 48), ((65, 70), 96)])
@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize("rounding", ["floor", "ceil"])
def test_every_size_and_pooling(size, tile, kind, rounding, backend_name, device, slender_weights):
    images = smooth_image(*size, 1), smooth_image(75, 101, 2), smooth_image(*size, 3)
    settings = {"pooling.kind": kind, "pooling.rounding": rounding, "tv.weight": 0.01}
    problem = make_problem("gatys2016", slender_weights, *images[:2], **settings)
    assert_same(*both(backend_name, device, problem, images[2], tile, dtype="float64"), FLOAT64)


@pytest.mark.parametrize("taps", ["conv", "relu"])
def test_every_tap(taps, backend_name, device, slender_weights):
    chosen = [tap for tap in vgg19.TAPS if tap.startswith(taps)]
    images = [smooth_image(83, 50, seed) for seed in (1, 2, 3)]
    problem = make_problem("default", slender_weights, *images[:2], **{"content.taps": chosen, "style.taps": chosen})
    whole, tiled = both(backend_name, device, problem, images[2], 32, dtype="float64")
    assert_same(whole, tiled, FLOAT64)
    assert relative(tiled.gradient, reference.Objective(problem).evaluate(images[2]).gradient) <= FLOAT64


@pytest.mark.parametrize("name", recipe.names())
def test_every_recipe(name, backend_name, device, slender_weights):
    images = [smooth_image(70, 61, seed) for seed in (1, 2, 3)]
    problem = make_problem(name, slender_weights, *images[:2])
    assert_same(*both(backend_name, device, problem, images[2], 32, dtype="float64"), FLOAT64)


@pytest.mark.parametrize("side", ["content", "style"])
def test_one_side_without_taps(side, backend_name, device, slender_weights):
    images = [smooth_image(50, 64, seed) for seed in (1, 2, 3)]
    problem = make_problem("default", slender_weights, *images[:2], **{f"{side}.taps": {}})
    assert_same(*both(backend_name, device, problem, images[2], 32, dtype="float64"), FLOAT64)


def test_single_precision(backend_name, device, slender_weights):
    # Average pooling has no choices to flip.
    images = [smooth_image(96, 131, seed) for seed in (1, 2, 3)]
    problem = make_problem("default", slender_weights, *images[:2], dtype="float32")
    assert_same(*both(backend_name, device, problem, images[2].astype("float32"), 48, dtype="float32"), FLOAT32)


def test_bfloat16(backend_name, device, slender_weights):
    images = [smooth_image(64, 80, seed) for seed in (1, 2, 3)]
    problem = make_problem("default", slender_weights, *images[:2], dtype="float32")
    settings = {"dtype": "float32", "precision": "bf16"}
    whole, tiled = both(backend_name, device, problem, images[2].astype("float32"), 32, **settings)
    # bfloat16 has 8 bits, and the sums of a tile's gradient are in another order.
    assert relative(tiled.gradient, whole.gradient) <= 0.05
    assert tiled.losses.total == pytest.approx(whole.losses.total, rel=0.01)


@pytest.mark.parametrize("name", ["default", "gatys2016", "sonare2024"])  # of three pixel spaces
def test_content_features_too_large_to_keep_are_computed_anew(name, backend_name, device, slender_weights, monkeypatch):
    monkeypatch.setattr("nst_spec.memory.KEPT", 0)
    images = [smooth_image(70, 61, seed) for seed in (1, 2, 3)]
    problem = make_problem(name, slender_weights, *images[:2])
    objective = backends.load(backend_name, device=device, dtype="float64", tile=32).objective(problem)
    assert not objective.plan.keeps_content
    assert all(target.features == () for target in objective.content_targets.values())
    whole = backends.load(backend_name, device=device, dtype="float64", tile="off").objective(problem)
    assert_same(whole.evaluate(images[2]), objective.evaluate(images[2]), FLOAT64)


@pytest.mark.parametrize("tile", ["off", 32])
def test_the_energy_of_bfloat16_features_is_summed_in_float32(tile, backend_name, device, slender_weights):
    image = smooth_image(64, 80, 1)
    problem = make_problem("default", slender_weights, image, image, dtype="float32")
    objective = backends.load(backend_name, device=device, precision="bf16", tile=tile).objective(problem)
    [(features, energy)] = objective.content_features(objective.variable(image)).values()
    parts = features if isinstance(features, tuple) else (features,)
    assert all("bfloat16" in str(part.dtype) for part in parts)
    expected = sum((in_float64(part) ** 2).sum() for part in parts)
    assert energy == pytest.approx(expected, rel=1e-6)


def in_float64(features):
    """Either framework's features as an array."""
    return np.asarray(features.float().cpu() if hasattr(features, "float") else features).astype(np.float64)


def test_sums_over_many_tiles_are_kept_in_float64(backend_name, slender_weights):
    image = smooth_image(48, 48, 1)
    problem = make_problem("default", slender_weights, image, image, dtype="float32")
    objective = backends.load(backend_name, device="cpu", tile=16).objective(problem)
    x = objective.variable(image)
    [total] = objective._sums(x, objective.pieces(x), {"relu1_1": 1.0}).values()
    assert "float64" in str(total.dtype)


@pytest.mark.parametrize("tv_weight", [8.0, 0.0])
def test_ten_steps_in_tiles_are_those_of_the_whole_image(tv_weight, backend_name, device, slender_weights):
    content, style = smooth_image(50, 64, 1), smooth_image(64, 40, 2)
    problem = make_problem("default", slender_weights, content, style, **{"tv.weight": tv_weight})
    ends = []
    for tile in ("off", 32):
        descent = (
            backends.load(backend_name, device=device, dtype="float64", tile=tile).objective(problem).descent(content)
        )
        for _ in range(10):
            descent.evaluate()
            descent.update()
        ends.append(descent.image())
    assert relative(*ends) <= 1e-10
    assert relative(ends[0], content) > 1e-3


def test_layer_by_layer_is_for_the_whole_image(backend_name, device, slender_weights):
    image = smooth_image(40, 40, 1)
    problem = make_problem("default", slender_weights, image, image)
    objective = backends.load(backend_name, device=device, dtype="float64", tile=16).objective(problem)
    with pytest.raises(NstError, match=r"layer by layer.*tile off"):
        objective.passes(image)


def test_the_oracle_computes_the_whole_image():
    with pytest.raises(NstError, match="tile: received 64, but the oracle computes the whole image"):
        backends.load("reference", tile=64)


def test_arguments_are_left_alone(backend_name, device, slender_weights):
    image = smooth_image(48, 48, 1)
    before = image.copy()
    problem = make_problem("default", slender_weights, image, image)
    backends.load(backend_name, device=device, dtype="float64", tile=16).objective(problem).evaluate(image)
    np.testing.assert_array_equal(image, before)
