import dataclasses
import itertools

import numpy as np
import pytest

from compare import trace as traces
from compare.diff import diff
from compare.record import nudged, record
from nst_spec import backend as backends
from nst_spec import recipe, reference, run
from nst_spec.errors import NstError
from nst_spec.images import Picture
from nst_spec.scales import problem_at, sized_scales
from tests.conftest import smooth_image


def test_a_trace_holds_what_the_backend_computes(trace, inputs):
    chosen = recipe.override(recipe.load("default"), {"size.pixels": 32, "steps": 6})
    problem = problem_at(sized_scales(chosen, inputs.content, *inputs.styles)[-1], chosen, inputs, "float64")
    objective = reference.Objective(problem)
    image = trace.arrays["image"]
    evaluation, passes = objective.evaluate(image), objective.passes(image)
    np.testing.assert_array_equal(trace.arrays["gradient"], evaluation.gradient)
    assert trace.scalar("total/loss") == evaluation.losses.total
    assert trace.scalar("term/style/relu3_1") == evaluation.losses.style_terms["relu3_1"]
    np.testing.assert_array_equal(trace.arrays["gram/relu2_1"], evaluation.grams["relu2_1"])
    np.testing.assert_array_equal(trace.arrays["target/relu2_1"], evaluation.targets["relu2_1"])
    # 26 * 32 * 8 values are fewer than a sample.
    np.testing.assert_array_equal(trace.arrays["output/relu1_2"], passes.outputs["relu1_2"].ravel())
    np.testing.assert_array_equal(trace.arrays["slope/conv3_1"], passes.gradients["conv3_1"].ravel())
    positive = np.unpackbits(trace.arrays["choices/relu4_1"])[: passes.outputs["relu4_1"].size]
    np.testing.assert_array_equal(positive.reshape(passes.outputs["relu4_1"].shape), passes.outputs["conv4_1"] > 0)
    assert trace.arrays["facts/output/conv2_1"][1] == pytest.approx(np.std(passes.outputs["conv2_1"]))


def test_every_style_image_is_recorded_and_must_be_the_same(inputs, tmp_path):
    chosen = recipe.override(recipe.load("default"), {"size.pixels": 32, "steps": 2, "style.blend": [1, 2]})
    made = []
    for seed in (3, 4):
        both = (*inputs.styles, Picture(smooth_image(24, 20, seed), "other.png", str(seed)))
        backend = backends.load("reference")
        made.append(record(backend, chosen, dataclasses.replace(inputs, styles=both), version="0"))
    traces.write(tmp_path / "a.safetensors", made[0])
    again = traces.read(tmp_path / "a.safetensors")
    assert again.header == made[0].header
    assert again.header.style_sizes == {"input/style": (32, 26), "input/style/2": (27, 32)}
    assert again.arrays["input/style/2"].shape == (32, 27, 3)
    found = diff(again, made[0])
    assert (found.ok, found.content, found.style) == (True, "1.png", "2.png, other.png")
    assert (found.style_size, found.more_style_sizes) == ((32, 26), [(27, 32)])
    with pytest.raises(NstError, match=r"they differ in: pixels of input/style/2 \("):
        diff(*made)
    with pytest.raises(ValueError, match="there is not a size for each style image"):
        traces.Header.model_validate(again.header.model_dump(mode="json") | {"more_style_sizes": []})
    del again.arrays["input/style/2"]
    traces.write(tmp_path / "b.safetensors", again)
    with pytest.raises(NstError, match=r"input/style/2: expected an array \(32, 27, 3\), received nothing"):
        traces.read(tmp_path / "b.safetensors")


def test_the_first_update_is_judged_however_few_images_are_kept(inputs):
    chosen = recipe.override(recipe.load("default"), {"size.pixels": 32, "steps": 4})
    kept = [record(backends.load("reference"), chosen, inputs, version="0", every=9) for _ in range(2)]
    assert sorted(kept[0].under("run/image")) == ["0", "1", "4"]
    assert diff(*kept).trajectory.first_update.ok


def test_the_judged_image_leaves_no_term_at_zero(trace):
    terms = trace.under("term")
    assert {"content/relu4_2", "style/relu1_1", "tv"} <= set(terms)
    assert all(value > 0 for value in terms.values())


def test_the_run_is_the_one_a_user_gets(trace, inputs):
    chosen = recipe.override(recipe.load("default"), {"size.pixels": 32, "steps": 6})
    outcome = run.run(backends.load("reference", dtype="float64"), chosen, inputs)
    np.testing.assert_array_equal(trace.arrays["run/result"], outcome.image)
    np.testing.assert_array_equal(trace.arrays["run/loss"], [losses.total for losses in outcome.losses])
    assert set(trace.under("run/image")) == {str(step) for step in range(7)}


def test_the_nudged_run_is_another_one_very_near(trace):
    for step in range(1, 7):
        a, b = trace.arrays[f"run/image/{step}"], trace.arrays[f"nudged/1/image/{step}"]
        assert 0 < np.abs(a - b).max() < 1e-6


def test_every_step_is_moved_in_its_own_way(traced):
    # Steps too short to see, so that the run moves by its nudges alone.
    still = {"optimizer.kind": "sgd", "optimizer.lr": 1e-300, "result": "last", "clamp": "none", "size.margin": 0}
    found = traced(**still).arrays
    # What a step gives is kept before it is moved, so that the first two are the same.
    images = [found[f"nudged/1/image/{step}"] for step in range(1, 7)]
    np.testing.assert_array_equal(found["run/image/6"], found["run/image/0"])
    ways = [np.sign(after - before) for before, after in itertools.pairwise([found["run/image/0"], *images])]
    for one, other in itertools.combinations(ways, 2):
        assert 0.4 < np.mean(one == other) < 0.6


def test_colours_hide_nothing_of_the_run(traced):
    painted, coloured = (traced(colours=whose) for whose in ("style", "content"))
    assert coloured.header.recipe["colours"] == "content"
    for name in ("run/result", "run/image/3", "nudged/1/image/3"):
        np.testing.assert_array_equal(coloured.arrays[name], painted.arrays[name])


@pytest.mark.parametrize("done", [0, 2])
def test_a_run_for_which_memory_is_too_short_is_an_error_and_no_shorter_run(done, traced, monkeypatch):
    original, calls = run.FrugalDescent.evaluate, []

    def evaluate(self):
        calls.append(self)
        if len(calls) > done:
            raise run.OutOfMemoryError("out of memory in 32 px")
        return original(self)

    monkeypatch.setattr(run.FrugalDescent, "evaluate", evaluate)
    with pytest.raises(NstError, match="out of memory in 32 px"):
        traced()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_pixel_moves_by_one_unit_in_the_last_place(dtype):
    image = smooth_image(20, 30, 1).astype(dtype)
    image[0] = 0.0
    moved = nudged(image, 1, seed=1)
    assert moved.dtype == image.dtype
    bright = image > 0.01
    assert (np.abs(moved - image)[bright] == np.spacing(image[bright])).all()
    assert (moved != image).all()
    assert 0.4 < (moved > image).mean() < 0.6
    assert not np.array_equal(nudged(image, 1, seed=2) > image, moved > image)
    assert (np.abs(nudged(image, 3, seed=1) - image)[bright] >= 2 * np.spacing(image[bright])).all()


@pytest.mark.parametrize("init", ["content", "style"])
def test_a_run_that_starts_from_its_content_image_is_moved_with_it(init, inputs):
    settings = {"size.pixels": 32, "steps": 2, "beta": 0.0, "tv.weight": 0.0, "init.kind": init}
    found = record(backends.load("reference"), recipe.override(recipe.load("gatys2016"), settings), inputs, version="0")
    assert not np.array_equal(found.arrays["nudged/1/image/0"], found.arrays["run/image/0"])
    assert [found.arrays[f"{name}/loss"][0] == 0.0 for name in ("run", "nudged/1")] == [init == "content"] * 2


def test_a_second_look_has_another_image_and_runs_that_are_moved_further(inputs):
    chosen = recipe.override(recipe.load("default"), {"size.pixels": 32, "steps": 3})
    oracle = backends.load("reference", dtype="float64")
    found, again = (record(oracle, chosen, inputs, version="0", closer=closer) for closer in (False, True))
    starts = [np.abs(again.arrays[f"nudged/{n}/image/0"] - again.arrays["run/image/0"]).max() for n in range(1, 9)]
    assert starts == pytest.approx([n * starts[0] for n in range(1, 9)], rel=0.01, abs=0)
    ways = [np.sign(again.arrays[f"nudged/{n}/image/0"] - again.arrays["run/image/0"]) for n in range(1, 9)]
    for one, other in itertools.combinations(ways, 2):
        assert 0.4 < np.mean(one == other) < 0.6
    assert "nudged/2/loss" not in found.arrays
    assert not np.array_equal(found.arrays["image"], again.arrays["image"])
    np.testing.assert_array_equal(found.arrays["run/result"], again.arrays["run/result"])


def test_images_can_be_kept_now_and_then_and_layers_whole(inputs):
    chosen = recipe.override(recipe.load("default"), {"size.pixels": 40, "steps": 5})
    found = record(backends.load("reference"), chosen, inputs, version="0", every=2, whole=True)
    assert set(found.under("run/image")) == {"0", "1", "2", "4", "5"}
    assert found.arrays["output/conv3_1"].shape == (8, 10, 32)


@pytest.mark.parametrize("margin", [0, 5])
def test_another_image_can_be_judged(margin, inputs):
    chosen = recipe.override(recipe.load("default"), {"size.pixels": 32, "size.margin": margin})
    image = smooth_image(26, 32, 9)
    found = record(backends.load("reference", dtype="float64"), chosen, inputs, version="0", image=image, runs=False)
    around = ((margin, margin), (margin, margin), (0, 0))
    np.testing.assert_array_equal(found.arrays["image"], np.pad(image, around, mode="symmetric"))
    assert not found.under("run")


def test_ties_are_counted(inputs):
    chosen = recipe.override(recipe.load("pytorch-blog"), {"size.pixels": 32})
    oracle = backends.load("reference", dtype="float64")
    flat = record(oracle, chosen, inputs, version="0", image=np.full((26, 32, 3), 0.5), runs=False)
    lively = record(oracle, chosen, inputs, version="0", runs=False)
    assert int(flat.arrays["ties/pool1"]) > 100
    assert int(lively.arrays["ties/pool1"]) == 0


def test_the_size_of_a_trace_is_that_of_the_canvas_with_its_margin(traced):
    found = traced(steps=1, **{"size.margin": 16})
    assert found.header.content_size == (64, 58)
    assert found.header.picture_size == diff(found, found).content_size == (32, 26)
    assert found.arrays["image"].shape == (58, 64, 3)
