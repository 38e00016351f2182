import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pydantic
import pytest

import compare
from compare.diff import diff, wants_closer_look
from compare.distance import relative
from compare.record import record
from compare.result import Result, notes_on
from compare.tolerances import TOLERANCES
from compare.trace import SAMPLES, positions
from nst_spec import backend as backends
from nst_spec import recipe
from nst_spec.errors import NstError
from tests.compare.conftest import at, by, changed, lengthened


def test_a_trace_agrees_with_itself_exactly(trace):
    found = diff(trace, trace)
    assert found.ok
    assert found.first is None
    assert found.flips == 0
    assert [layer.layer for layer in found.layers][:3] == ["input", "conv1_1", "relu1_1"]
    assert all(layer.output.error == layer.slope.error == 0.0 for layer in found.layers)
    assert [layer.layer for layer in found.layers if layer.gram] == [f"relu{block}_1" for block in range(1, 6)]
    assert [layer.layer for layer in found.layers if layer.content_term] == ["relu4_2"]
    assert found.trajectory.ratio.error == 0.0


def test_an_error_is_the_norm_of_the_difference_over_the_norm(trace):
    found = diff(changed(trace, by(1 + 3e-9), "gradient"), trace)
    assert found.gradient.error == pytest.approx(3e-9)
    assert str(found.first) == "gradient by the image: 3.0e-09, limit 1e-12"
    assert relative(np.zeros(3), np.zeros(3)) == 0.0
    assert relative(np.ones(3), np.zeros(3)) is None


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("output/conv3_2", "output of conv3_2"),
        ("facts/output/conv3_3", "output of conv3_3"),
        ("slope/relu2_1", "gradient by relu2_1"),
        ("gram/relu2_1", "Gram matrix of relu2_1"),
        ("target/relu3_1", "target Gram matrix of relu3_1"),
        ("term/style/relu4_1", "style term of relu4_1"),
        ("term/content/relu4_2", "content term of relu4_2"),
        ("term/tv", "total variation"),
        ("total/loss", "total loss"),
        ("run/loss", "loss of the run's first step"),
    ],
)
def test_whatever_is_out_is_found_and_named(name, first, trace):
    found = diff(changed(trace, by(1.001), name), trace)
    assert not found.ok
    assert str(found.first).startswith(f"{first}:")
    assert found.hint


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("total/loss", "every term agrees: alpha, beta or the total variation's weight is another"),
        ("total/style", "every term agrees, their sum does not"),
        ("run/loss", "the judged image's loss agrees: what a run evaluates is another"),
    ],
)
def test_a_total_has_the_hint_that_fits(name, hint, trace):
    assert diff(changed(trace, by(1.001), name), trace).hint == hint


def moved(trace, step, factor):
    """A fault moves the run and the nudged run alike."""
    return changed(trace, by(factor), f"run/image/{step}", f"nudged/1/image/{step}")


def test_a_run_that_goes_elsewhere_is_found_and_named(trace):
    found = diff(moved(trace, 5, 1.001), trace)
    assert not found.ok
    assert str(found.first).startswith("image after step 5:")
    assert found.hint


@pytest.mark.parametrize("name", ["default", "tf-tutorial", "keras-io"])
def test_a_rate_that_is_a_little_off_is_found_by_the_first_update(name, traced):
    trace = traced(name, **{"size.margin": 0})
    found = diff(lengthened(trace, 1.01), trace)
    assert str(found.first).startswith("length of the first update: 1.0e-02, limit 1e-10")
    assert "the right direction and another length (1.01, 1.01, 1.01 in R, G, B)" in found.hint
    assert wants_closer_look(found)
    assert found.trajectory.first_update.error == pytest.approx(0.01, rel=1e-6)
    assert diff(lengthened(trace, 1 + 1e-11), trace).ok


def test_a_first_update_that_pixels_round_away_is_held_to_its_own_rounding(trace):
    start, after = (trace.arrays[f"run/image/{step}"] for step in (0, 1))
    nudge = trace.arrays["nudged/1/image/0"] + 1.02 * (after - start)
    noisy = dataclasses.replace(trace, arrays={**trace.arrays, "nudged/1/image/1": nudge})
    assert diff(lengthened(trace, 1.1), noisy).trajectory.first_update.ok
    assert not diff(lengthened(trace, 1.3), noisy).trajectory.first_update.ok


def test_a_first_update_of_about_a_unit_in_the_last_place_is_held_to_what_rounding_does(traced):
    trace = traced("gatys2016", dtype="float32", steps=2)
    start, after = (trace.arrays[f"run/image/{step}"].astype("float64") for step in (0, 1))
    assert 1 < np.abs(start).max() < 2  # noise goes beyond black and white
    unit, update = np.finfo("float32").eps, after - start
    assert np.abs(update).mean() < 20 * unit
    limit = unit * np.abs(update).sum() / np.square(update).sum()
    assert diff(lengthened(trace, 1 + 0.9 * limit), trace).trajectory.first_update.ok
    assert not diff(lengthened(trace, 1 + 1.1 * limit), trace).trajectory.first_update.ok


def test_a_first_update_of_less_than_a_unit_in_the_last_place_is_not_judged_by_what_is_left_of_it(traced):
    trace = traced("gatys2016", dtype="float32", steps=2)
    arrays = dict(trace.arrays)
    for name in ("run", "nudged/1"):  # which would excuse what it does not share
        start, after = (arrays[f"{name}/image/{step}"].astype("float64") for step in (0, 1))
        stays = np.abs(after - start) < np.finfo("float32").eps / 2
        assert 0.01 < stays.mean() < 0.5
        arrays[f"{name}/image/1"] = np.where(stays, start, start + 1.04 * (after - start))
    rounded = dataclasses.replace(trace, arrays=arrays)
    assert diff(rounded, trace).trajectory.first_update.ok
    assert not diff(lengthened(trace, 1.2), trace).trajectory.first_update.ok


@pytest.mark.parametrize("which", [0, 1])
def test_a_first_update_that_one_side_alone_makes_is_out_unless_it_is_rounding(which, traced):
    trace = traced(dtype="float32", steps=2, **{"size.margin": 0})

    def updated(change):
        starts = {name: trace.arrays[f"{name}/image/0"] for name in ("run", "nudged/1")}
        moves = {f"{name}/image/1": start + change for name, start in starts.items()}
        return dataclasses.replace(trace, arrays={**trace.arrays, **moves})

    stayed, rounded, moved = map(updated, (0.0, 0.9 * np.finfo("float32").eps / 2, 1e-5))
    order = slice(None, None, 1 - 2 * which)
    assert diff(*(stayed, rounded)[order]).trajectory.first_update.ok
    found = diff(*(stayed, moved)[order]).trajectory.first_update
    assert (found.error, found.ok) == (1.0, False)


def test_the_first_update_is_not_known_of_a_run_without_its_image_nor_judged_in_less_precision(trace):
    without = {name: array for name, array in trace.arrays.items() if name != "run/image/1"}
    assert diff(dataclasses.replace(trace, arrays=without), trace).trajectory.first_update is None
    coarse = at(trace, precision="bf16")
    assert diff(coarse, coarse).trajectory.first_update is None


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_image_that_one_side_alone_has_lost_is_out_at_any_step(precision, trace):
    sides = [at(each, precision=precision) for each in (changed(trace, by(np.nan), "run/image/3"), trace)]
    found = diff(*sides)
    assert str(found.first).startswith("image after step 3: not comparable")
    assert diff(sides[0], sides[0]).first is None
    lost = changed(sides[1], by(np.nan), "run/image/1")
    assert str(diff(lost, sides[1]).first).startswith(
        "length of the first update: not comparable" if precision == "fp32" else "image after step 1: not comparable"
    )
    assert diff(lost, lost).first is None


def test_a_run_with_a_margin_that_goes_elsewhere_has_its_hint_too(traced):
    trace = traced(**{"size.margin": 16})
    found = diff(moved(trace, 5, 1.001), trace)
    assert str(found.first).startswith("image after step 5:")
    assert found.hint == diff(moved(traced(), 5, 1.001), traced()).hint


@pytest.mark.parametrize(
    ("names", "first"),
    [
        (
            ("gradient", "slope/relu1_1", "term/style/relu5_1", "output/conv4_3", "gram/relu5_1"),
            "output of conv4_3",
        ),
        (("gradient", "slope/relu2_1", "slope/relu4_1"), "gradient by relu4_1"),
    ],
)
def test_the_first_of_several_is_the_first_in_the_order_of_computation(names, first, trace):
    assert str(diff(changed(trace, by(2.0), *names), trace).first).startswith(first)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["gradient", "output/conv1_1", "term/tv", "gram/relu1_1", "run/image/6"])
def test_what_is_not_finite_is_out(name, value, trace):
    found = diff(changed(trace, by(value), name), trace)
    assert not found.ok
    assert found.first.measure.error is None
    json.loads(found.model_dump_json())


@pytest.mark.parametrize(("number", "judged"), [(0, True), (1, True), (2, False)])
def test_mean_and_deviation_of_a_whole_layer_are_judged_and_its_greatest_is_not(number, judged, trace):
    def move(facts):
        return facts * (1 + 1e-3 * (np.arange(3) == number))

    assert diff(changed(trace, move, "facts/output/conv3_3"), trace).ok is not judged


def test_a_taps_weight_weighs_the_energy_of_its_term_too(traced):
    def error(weight):
        trace = traced("gatys2016", runs=False, **{"content.taps": f"relu4_2={weight}"})
        off = changed(trace, lambda _: np.array(1e-20), "term/content/relu4_2")
        zero = changed(trace, lambda _: np.array(0.0), "term/content/relu4_2")
        return next(layer.content_term.error for layer in diff(off, zero).layers if layer.content_term)

    assert error(0.5) == pytest.approx(2 * error(1.0), rel=1e-6)


def test_a_term_near_zero_is_judged_beside_its_energy(trace):
    # As of an image that is nearly the content image: both sides' terms are rounding.
    near = [changed(trace, lambda _, value=value: np.array(value), "term/content/relu4_2") for value in (1e-20, 3e-20)]
    measure = next(layer.content_term for layer in diff(*near).layers if layer.content_term)
    # The term is relative to its energy, which makes that 1.
    assert measure.error == pytest.approx(2e-20, rel=1e-12, abs=0)


def flip(array):
    bits = np.unpackbits(array)
    bits[[3, 17]] ^= 1
    return np.packbits(bits)


def test_a_term_beside_an_infinite_energy_is_not_comparable(trace):
    found = diff(trace, changed(trace, lambda _: np.array(np.inf), "energy/style/relu3_1"))
    assert str(found.first).startswith("style term of relu3_1: not comparable")


def test_choices_that_differ_are_counted_and_loosen_the_gradients_before_them_alone(trace):
    found = diff(changed(trace, flip, "choices/relu3_2"), trace)
    choices = {layer.layer: layer.choices for layer in found.layers}
    assert choices["relu3_2"].differing == found.flips == 2
    assert choices["relu3_2"].of == math.prod(trace.header.shapes["relu3_2"])
    strict, loose = (TOLERANCES.limit("float64", name) for name in ("gradient", "flipped-gradient"))
    limits = {layer.layer: layer.slope.limit for layer in found.layers}
    assert strict < loose
    assert (limits["conv3_2"], limits["relu3_2"], limits["input"]) == (loose, strict, loose)
    assert found.gradient.limit == loose


def turned(array):
    """The array with half as much again of something across it."""
    across = np.random.default_rng(0).normal(size=array.shape)
    across -= array * np.sum(across * array) / np.sum(array**2)
    return array + 0.49 * across * np.linalg.norm(array) / np.linalg.norm(across)


@pytest.mark.parametrize(
    ("name", "where", "hint"),
    [
        ("slope/relu2_1", "relu2_1", "the way back through conv2_2"),
        ("gradient", "the image", "the way back from the optimised pixel space"),
    ],
)
@pytest.mark.parametrize("factor", [1.3, 0.7])
def test_a_gradient_of_another_length_is_found_where_precision_is_low(factor, name, where, hint, trace):
    coarse = at(trace, precision="bf16")
    found = diff(changed(coarse, by(factor), name), coarse)
    assert str(found.first) == f"length of the gradient by {where}: 3.0e-01, limit 2e-01"
    assert hint in found.hint
    assert not wants_closer_look(found)
    askew = diff(changed(coarse, turned, name), coarse)
    assert askew.ok
    errors = [*(layer.slope.error for layer in askew.layers), askew.gradient.error]
    assert max(errors) == pytest.approx(0.49, abs=1e-9)


def test_a_flipped_choice_that_changes_a_gradients_length_wants_a_closer_look(traced):
    trace = traced(dtype="float32", runs=False)
    flipped = changed(trace, flip, "choices/relu5_1")
    for side, closer in ((flipped, True), (trace, False)):
        found = diff(changed(side, by(np.float32(1.002)), "slope/relu2_1"), trace)
        assert found.first.where == "relu2_1"
        assert wants_closer_look(found) is closer
    assert found.first.quantity == "gradient by"
    assert diff(changed(flipped, by(np.float32(1.002)), "slope/relu2_1"), trace).first.quantity == (
        "length of the gradient by"
    )


@pytest.mark.parametrize(("precision", "closer"), [("fp32", True), ("bf16", False)])
def test_a_flipped_choice_wants_a_closer_look_where_roundings_are_neighbours(precision, closer, trace):
    flipped = changed(changed(trace, flip, "choices/relu5_1"), by(3.0), "gradient")
    found = diff(at(flipped, precision=precision), trace)
    assert not found.ok
    assert found.flips == 2
    assert wants_closer_look(found) is closer


@pytest.mark.parametrize(
    ("one", "other", "profile"),
    [
        ({}, {}, "float32"),
        ({"fast": True}, {}, "fast"),
        ({}, {"fast": True}, "fast"),
        ({"fast": None, "tile": 64}, {"fast": False}, "float32"),
        ({"fast": True, "precision": "tf32"}, {"fast": True}, "tf32"),
        ({"precision": "tf32"}, {"precision": "bf16"}, "bf16"),
        ({"fast": True, "dtype": "float64"}, {"dtype": "float64"}, "float64"),
    ],
)
def test_the_limits_are_those_of_the_side_that_rounds_the_most(one, other, profile, traced):
    trace = traced(dtype="float32", runs=False)
    assert diff(at(trace, **one), at(trace, **other)).profile == profile


def test_choices_of_maximum_pooling_are_counted_by_window(traced):
    trace = traced("pytorch-blog", runs=False)
    # Bits 3 and 17 belong to windows 1 and 8.
    found = diff(changed(trace, flip, "choices/pool1"), trace)
    assert {layer.layer: layer.choices for layer in found.layers}["pool1"].differing == 2


def test_a_run_is_judged_by_its_distance_from_itself(trace):
    own = trace.arrays["nudged/1/image/6"] - trace.arrays["run/image/6"]
    for factor, ok in ((5.0, True), (20.0, False)):
        # Its own distance from the nudged run moves along.
        names = "run/image/6", "nudged/1/image/6"
        found = diff(changed(trace, lambda image, factor=factor: image + factor * own, *names), trace)
        assert found.ok is ok
        assert found.trajectory.ratio.error == pytest.approx(factor, rel=1e-3)
        step = found.trajectory.steps[-1]
        assert (step.step, step.ok) == (6, ok)
        assert step.distance == pytest.approx(factor * step.own_distances[1], rel=1e-3, abs=0)


@pytest.mark.parametrize("turned", [False, True])
def test_a_run_is_judged_by_the_greater_distance_of_either_side_from_itself(turned, trace):
    own = trace.arrays["nudged/1/image/6"] - trace.arrays["run/image/6"]
    image = trace.arrays["run/image/6"] + 5 * own
    still = dataclasses.replace(trace, arrays={**trace.arrays, "run/image/6": image, "nudged/1/image/6": image})
    found = diff(*((trace, still) if turned else (still, trace)))
    assert found.trajectory.ratio.error == pytest.approx(5, rel=1e-2)


def test_equal_runs_that_no_nudge_moves_are_not_apart(trace):
    unmoved = {name: trace.arrays[name.replace("nudged/1", "run")] for name in trace.arrays if "nudged/1/" in name}
    still = dataclasses.replace(trace, arrays={**trace.arrays, **unmoved})
    assert diff(still, still).trajectory.ratio.error == 0.0


def test_equal_runs_whose_nudged_ones_ended_early_are_not_apart(trace):
    short = {name: array for name, array in trace.arrays.items() if not name.startswith("nudged/")}
    still = dataclasses.replace(trace, arrays=short)
    found = diff(still, still)
    assert found.ok
    assert found.trajectory.steps[-1].distance == 0.0


def test_the_nudge_that_moves_a_run_most_tells_its_distance_from_itself(trace):
    still = {
        name.replace("/1/", "/2/", 1): trace.arrays[f"run/{name[9:]}"] for name in trace.arrays if "nudged/1/" in name
    }
    found = diff(dataclasses.replace(trace, arrays={**trace.arrays, **still}), trace)
    both, one = found.trajectory.steps[-1].own_distances
    assert both == one > 0


def test_runs_moved_by_more_units_tell_the_distance_of_one(trace):
    ones = {name: array for name, array in trace.arrays.items() if name.startswith("nudged/1/")}
    twos = {name.replace("/1/", "/2/", 1): 2 * array - trace.arrays[f"run/{name[9:]}"] for name, array in ones.items()}
    found = diff(dataclasses.replace(trace, arrays={**trace.arrays, **twos}), trace)
    further, own = found.trajectory.steps[-1].own_distances
    assert own > 0
    assert further == pytest.approx(own, rel=1e-2, abs=0)


def test_the_first_steps_of_a_run_are_shown_and_not_judged(trace):
    found = diff(moved(trace, 4, 1.5), trace)
    assert found.ok
    assert found.trajectory.steps[4].ratio > 1e6


def test_a_run_that_is_lost_is_not_judged_any_more(trace):
    def parted(lost_at):
        far = {name: 5 * array for name, array in trace.arrays.items() if name.endswith("/image/6")}
        arrays = {**trace.arrays, **far}
        for step in range(lost_at, 7):
            arrays[f"nudged/1/image/{step}"] = 2.0 * arrays[f"run/image/{step}"]
        return diff(dataclasses.replace(trace, arrays=arrays), trace).trajectory

    assert [step.allowed is not None for step in parted(6).steps] == [False] * 5 + [True, False]
    assert parted(6).ratio.ok
    assert not parted(5).judged
    assert not parted(7).ratio.ok


@pytest.mark.parametrize("lost", ["image/6", "result"])
def test_the_picture_of_a_run_that_is_lost_is_not_judged(lost, trace):
    other = changed(trace, by(5.0), "run/result", "nudged/1/result")
    arrays = {**other.arrays, f"nudged/1/{lost}": 2.0 * other.arrays[f"run/{lost}"]}
    picture = diff(dataclasses.replace(trace, arrays=arrays), trace).trajectory.picture
    assert (picture.allowed, picture.ok) == (None, True)
    assert diff(other, trace).trajectory.picture.allowed is not None


def test_a_run_that_ends_early_on_one_side_is_out(trace):
    later = tuple(f"/image/{step}" for step in (5, 6))
    kept = {name: array for name, array in trace.arrays.items() if not name.endswith(later)}
    short = {**kept, "run/loss": trace.arrays["run/loss"][:4], "nudged/1/loss": trace.arrays["nudged/1/loss"][:4]}
    found = diff(dataclasses.replace(trace, arrays=short), trace)
    assert not found.ok
    assert str(found.first) == "length of the run: longer by 2 on one side"
    assert "not finite" in found.hint
    assert str(diff(trace, dataclasses.replace(trace, arrays=short)).first) == str(found.first)
    nudged_alone = {name: array for name, array in trace.arrays.items() if name != "nudged/1/image/6"}
    assert str(diff(dataclasses.replace(trace, arrays=nudged_alone), trace).first).startswith("image after step 6")


def test_the_final_picture_is_judged_as_its_steps_are(trace):
    other = changed(trace, by(1.01), "run/result", "nudged/1/result")
    found = diff(other, trace)
    assert str(found.first).startswith("picture of the run:")
    assert "the best image is another" in found.hint
    assert not found.trajectory.ratio.ok


def test_whole_maps_are_compared_whole(inputs):
    chosen = recipe.override(recipe.load("default"), {"size.pixels": 128})
    whole = record(backends.load("reference"), chosen, inputs, version="0", whole=True, runs=False)
    assert whole.arrays["output/relu1_1"].size > 2 * SAMPLES
    values = whole.arrays["output/relu1_1"].ravel().copy()
    unseen = np.setdiff1d(np.arange(values.size), positions(values.size))
    values[unseen] = values[unseen][::-1]
    found = diff(changed(whole, lambda array: values.reshape(array.shape), "output/relu1_1"), whole)
    assert str(found.first).startswith("output of relu1_1")


def test_values_that_are_not_finite_from_the_start_are_located(inputs):
    chosen = recipe.override(recipe.load("default"), {"size.pixels": 32, "steps": 6})
    broken = dict(inputs.weights.arrays)
    broken["conv3_2.bias"] = broken["conv3_2.bias"] * np.nan
    faulty = dataclasses.replace(inputs, weights=dataclasses.replace(inputs.weights, arrays=broken))
    oracle = backends.load("reference")
    found = diff(*(record(oracle, chosen, each, version="0") for each in (faulty, inputs)))
    assert str(found.first).startswith("output of conv3_2: not comparable")
    assert "not finite" in found.hint
    assert [len(losses) for losses in found.trajectory.losses] == [0, 6]


def test_why_a_run_is_not_judged_is_said_of_both_sides(trace, traced):
    short = traced(steps=1)
    assert diff(short, short).why_not_judged == "too short, or lost at once"
    coarse = at(trace, precision="bf16")
    found = diff(coarse, coarse)
    assert (found.trajectory.judged, found.why_not_judged) == (False, "its arithmetic rounds by more than a nudge")


def test_without_a_run_on_one_side_there_is_none_to_judge(trace, traced):
    assert diff(traced(runs=False), trace).trajectory is None
    assert diff(trace, traced(runs=False)).ok


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta": 11.0}, r"recipe beta \(11.0 against 100.0\)"),
        ({"size.pixels": 33}, r"content size \(\(33, 26\) against \(32, 26\)\)"),
        ({"dtype": "float32"}, "dtype"),
        ({"name": "tf-tutorial"}, "optimizer.kind"),
    ],
)
def test_traces_of_different_computations_are_refused(settings, message, trace, traced):
    with pytest.raises(NstError, match=message):
        diff(traced(**settings), trace)


def test_other_weights_preprocessing_and_pixels_are_refused_with_the_whole_list(trace):
    header = trace.header.model_copy(
        update={
            "weights": trace.header.weights.model_copy(update={"sha256": "f" * 64, "preprocessing": "imagenet"}),
            "pixels": {**trace.header.pixels, "input/style": "e" * 64},
        }
    )
    with pytest.raises(NstError) as refused:
        diff(dataclasses.replace(trace, header=header), trace)
    assert "weights (ffffffffffff against" in str(refused.value)
    assert "preprocessing (imagenet against caffe)" in str(refused.value)
    assert "pixels of input/style (eeeeeeeeeeee against" in str(refused.value)


def test_what_recipes_and_images_are_called_is_no_difference(trace):
    recipe = trace.header.recipe
    called = {"name": "mine", "source": "me", "note": "n", "stages": {"1": "relu1_1"}}
    elsewhere = {"adapted": {"caffe": {"beta": 3.0}}, "init": recipe["init"] | {"file": "here.png"}}
    header = trace.header.model_copy(
        update={
            "recipe": recipe | called | elsewhere,
            "inputs": {"content": {"name": "b.png", "sha256": "0"}, "style": {"name": "c.png", "sha256": "1"}},
        }
    )
    assert diff(dataclasses.replace(trace, header=header), trace).ok


@pytest.mark.parametrize("finer", ["fp32", "tf32"])
def test_the_least_precision_decides_the_limits(finer, trace):
    coarse = changed(at(trace, precision="bf16"), by(1.01), "output/conv1_1")
    found = diff(coarse, at(trace, precision=finer))
    assert (found.profile, found.ok, found.trajectory.judged) == ("bf16", True, False)
    assert [side.precision for side in found.sides] == ["bf16", finer]


def test_a_run_that_is_soon_far_from_itself_is_noted(trace, traced):
    assert notes_on([diff(trace, trace)]) == []
    blunt = changed(trace, by(1.001), "nudged/1/image/5")
    (note,) = notes_on([diff(blunt, blunt)] * 2)
    assert note.startswith("default: a run, moved by one unit in the last place, is soon far from itself, as where")
    sharp = changed(trace, by(1 + 1e-8), "nudged/1/image/5")
    later = changed(trace, by(1.001), "nudged/1/image/6")
    single = changed(traced(dtype="float32"), by(np.float32(1.001)), "nudged/1/image/5")
    assert notes_on([diff(each, each) for each in (sharp, later, single)]) == []


@pytest.mark.skipif(
    tuple(map(int, pydantic.VERSION.split(".")[:2])) < (2, 10), reason="an earlier pydantic words a schema otherwise"
)
def test_the_schema_of_the_json_is_written_down():
    written = json.loads(Path(compare.__file__).with_name("schema.json").read_text())
    assert written == Result.model_json_schema(), "write compare/schema.json anew, and count schema_version up"


def test_no_limit_is_looser_than_what_is_promised():
    promised = {
        "float64": dict.fromkeys(("output", "gram", "term", "gradient", "flipped-gradient"), 1e-11) | {"length": 1e-10},
        "float32": {"output": 2e-6, "gram": 2e-6, "term": 5e-6, "gradient": 1e-5, "flipped-gradient": 1e-2}
        | {"length": 1e-3},
        "fast": {
            "output": 1e-5,
            "gram": 1e-5,
            "term": 1e-5,
            "gradient": 1e-4,
            "flipped-gradient": 3e-2,
            "length": 2e-3,
        },
    }
    for profile, limits in promised.items():
        for quantity, limit in limits.items():
            assert TOLERANCES.limit(profile, quantity) <= limit, (profile, quantity)
    assert TOLERANCES.trajectory.limit <= 10
    assert TOLERANCES.first_step <= 5


def test_every_limit_has_its_measurement_and_its_reason():
    everything = [*TOLERANCES.profiles.values(), {"trajectory": TOLERANCES.trajectory}]
    for tolerance in (tolerance for profile in everything for tolerance in profile.values()):
        assert 0 < tolerance.measured < tolerance.limit
        assert len(tolerance.reason) > 20
