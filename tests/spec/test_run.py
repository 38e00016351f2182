"""The loop's own decisions: guard, best image, clamping, scales, stopping."""

import weakref

import numpy as np
import pytest

from nst_spec import backend as backends
from nst_spec import images, recipe, run
from nst_spec.backend import Losses
from nst_spec.errors import NstError
from nst_spec.images import Picture
from nst_spec.inputs import Inputs, check_weights
from nst_spec.scales import problem_at, sized_scales
from tests.conftest import smooth_image


class ScriptedDescent:
    """Yields the given totals; the image is the number of updates since the start or the last restore."""

    def __init__(self, totals):
        self.totals, self.position, self.saved, self.restored = list(totals), 0, None, 0

    def evaluate(self):
        total = self.totals.pop(0)
        return Losses({"relu1_1": total}, {}, 0.0, total, 0.0, total)

    def update(self):
        self.position += 1

    def keep(self):
        self.saved = self.position

    def restore(self):
        self.position = self.saved
        self.restored += 1


def descend(totals, **settings):
    descent = ScriptedDescent(totals)
    chosen = recipe.override(recipe.load("default"), settings)
    assert [losses.total for losses in run.descend(descent, chosen, len(totals))] == pytest.approx(totals, nan_ok=True)
    return descent


@pytest.mark.parametrize("guard", [True, False])
def test_the_best_image_is_the_one_that_the_lowest_loss_was_computed_on(guard):
    descent = descend([5.0, 3.0, 4.0, 3.5], guard=guard, result="best")
    assert (descent.saved, descent.position) == (1, 4)


@pytest.mark.parametrize(("optimizer", "still"), [("lbfgs", 1e-9), ("adam", 1e-200)])
def test_a_run_that_stands_still_says_so_once(inputs, optimizer, still):
    for factor, said in ((1.0, []), (still, ["step 1 changed nothing"])):
        warnings = []
        weights = {"alpha": factor, "beta": 100 * factor, "tv.weight": 8 * factor}
        chosen = recipe.override(quick(), {"optimizer.kind": optimizer, **weights})
        outcome = run.run(backends.load("reference"), chosen, inputs, warn=warnings.append)
        assert (len({losses.total for losses in outcome.losses}) == 1) == bool(said)
        assert [warning.partition(":")[0] for warning in warnings] == said


@pytest.mark.parametrize("result", ["best", "last"])
def test_an_explosion_restores_the_best_image_and_clears_the_history(result):
    descent = descend([5.0, 3.0, 4.0, 31.0, 2.0], guard=True, result=result)
    assert descent.restored == 1
    assert descent.saved == 1  # the image restored and judged again is the best
    assert descent.position == 2


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_guarded_run_survives_a_loss_that_is_not_finite(broken):
    descent = descend([5.0, 3.0, broken, 2.9])
    assert descent.restored == 1


def test_ten_times_the_best_is_not_yet_an_explosion():
    assert descend([5.0, 3.0, 30.0]).restored == 0


def test_what_follows_a_loss_of_zero_is_no_explosion():
    assert descend([0.0, 1e-9, 3e-9, 1e-9]).restored == 0
    assert descend([0.0, np.nan, 1e-9]).restored == 1


def test_a_guarded_run_ends_where_it_would_go_back_to_the_same_image_for_ever():
    descent = ScriptedDescent([5.0, 3.0, 40.0, 3.0, 40.0, 1.0])
    with pytest.raises(run.DivergedError):
        list(run.descend(descent, recipe.load("default"), 6))
    assert (descent.restored, descent.saved, descent.totals) == (2, 1, [1.0])
    assert descend([5.0, 3.0, 40.0, 2.0, 40.0, 1.0]).restored == 2


def test_a_run_that_explodes_at_every_try_says_so(inputs):
    outcome = run.run(REFERENCE, quick(scales=[{"fraction": 1.0, "steps": 9}], **{"optimizer.lr": 1e6}), inputs)
    assert "explodes again" in outcome.stopped
    assert len(outcome.losses) < 9


def test_an_unguarded_run_stops_at_the_last_good_image_and_names_the_term():
    descent = ScriptedDescent([5.0, 3.0, 40.0, np.nan, 1.0])
    chosen = recipe.override(recipe.load("default"), {"guard": False, "result": "last"})
    with pytest.raises(run.NotFiniteError, match="the content term of relu1_1"):
        list(run.descend(descent, chosen, 5))
    assert descent.position == 2
    assert descent.totals == [1.0]


def picture(seed, height=24, width=32):
    return Picture(smooth_image(height, width, seed), f"{seed}.png", str(seed))


@pytest.fixture
def inputs(narrow_weights):
    return Inputs(picture(1), (picture(2),), narrow_weights, "caffe")


REFERENCE = backends.load("reference", dtype="float64")


def quick(name="default", **settings):
    return recipe.override(recipe.load(name), {"size.pixels": 32, "steps": 6} | settings)


def test_scales_run_from_coarse_to_fine(inputs):
    seen = []
    chosen = quick(scales=[{"fraction": 0.7, "steps": 2}, {"fraction": 1.0, "steps": 4}])
    outcome = run.run(REFERENCE, chosen, inputs, lambda p: seen.append((p.step, p.steps, p.scale, p.width, p.height)))
    assert seen == [(n, 6, 1, 22, 17) for n in (1, 2)] + [(n, 6, 2, 32, 24) for n in (3, 4, 5, 6)]
    assert outcome.image.shape == (24, 32, 3)
    assert len(outcome.losses) == 6


@pytest.mark.parametrize(
    ("pixels", "sides"),
    [(128, [32, 64, 128]), (512, [128, 256, 512]), (1023, [256, 512, 1023]), (1024, [128, 256, 512, 1024])],
)
def test_a_larger_picture_takes_more_scales(pixels, sides):
    scales = [{"fraction": 0.25, "steps": 5, "factor": 0.5, "smallest": 128}, {"fraction": 0.5, "steps": 3}]
    chosen = recipe.override(
        recipe.load("default"), {"scales": [*scales, {"fraction": 1.0, "steps": 2}], "size.pixels": pixels}
    )
    sized = sized_scales(chosen, picture(1, height=40, width=40), picture(2))
    assert [scale.content_size[0] for scale in sized] == sides
    assert [scale.steps for scale in sized] == [5] * (len(sides) - 2) + [3, 2]
    assert chosen.steps == sum(scale.steps for scale in sized)


def test_how_much_smaller_a_scale_is_can_be_chosen():
    chosen = quick(scales=[{"fraction": 1.0, "steps": 4, "factor": 0.8, "smallest": 20}])
    assert [scale.fraction for scale in chosen.schedule] == pytest.approx([0.64, 0.8, 1.0])
    assert [scale.steps for scale in recipe.override(chosen, {"steps": 6}).schedule] == [2, 2, 2]


def test_a_scale_too_small_for_the_deepest_tap_leaves_its_steps_to_the_next():
    scales = [{"fraction": 0.25, "steps": 5}, {"fraction": 0.5, "steps": 3}, {"fraction": 1.0, "steps": 2}]
    wide = picture(1, height=20, width=80)
    chosen = recipe.override(recipe.load("default"), {"scales": scales, "size.pixels": 80})
    sized = sized_scales(chosen, wide, picture(2))
    assert [(scale.steps, scale.content_size) for scale in sized] == [(10, (80, 20))]
    sized = sized_scales(recipe.override(chosen, {"size.pixels": 128}), wide, picture(2))
    assert [(scale.steps, scale.content_size) for scale in sized] == [(8, (64, 16)), (2, (128, 32))]


@pytest.mark.parametrize("stopped", [False, True])
def test_a_change_is_carried_to_the_finer_photo(inputs, stopped):
    # Steps too short to see, so that each scale ends as it began.
    still = {"init.kind": "style", "optimizer.kind": "sgd", "optimizer.lr": 1e-30, "result": "last", "clamp": "none"}
    scales = [{"fraction": 0.7, "steps": 2}, {"fraction": 1.0, "steps": 1}]
    content, style = (images.fitted(picture.pixels, 22, 17) for picture in (inputs.content, *inputs.styles))
    enlarged, blurred = (images.resample(image, 32, 24) for image in (style, content))
    detail = images.fitted(inputs.content.pixels, 32, 24) - blurred
    for settings, expected in (
        ({"carry": "image"}, enlarged),
        ({"carry": "change"}, enlarged + detail),
        ({"carry": "change", "strength": 1.0}, enlarged),
        ({"carry": "change", "content.taps": {"relu4_2": 0.0}}, enlarged),
    ):
        chosen = quick(scales=scales, **settings, **still)
        found = run.run(REFERENCE, chosen, inputs, lambda progress: stopped)
        assert found.stopped == ("on request" if stopped else None)
        np.testing.assert_allclose(found.image, expected, atol=1e-6, err_msg=str(settings))


def test_a_step_callback_can_end_the_run(inputs):
    outcome = run.run(REFERENCE, quick(), inputs, lambda progress: progress.step == 2)
    assert (len(outcome.losses), outcome.stopped) == (2, "on request")
    complete = run.run(REFERENCE, quick(), inputs, lambda progress: progress.step == 6)
    assert (len(complete.losses), complete.stopped) == (6, None)


@pytest.mark.parametrize("at", [1, 2, 4])
def test_a_run_of_several_scales_ends_at_the_step_that_asks_for_it(at, inputs):
    chosen = quick(scales=[{"fraction": 0.7, "steps": 2}, {"fraction": 1.0, "steps": 3}])
    outcome = run.run(REFERENCE, chosen, inputs, lambda progress: progress.step == at)
    assert (len(outcome.losses), outcome.stopped) == (at, "on request")
    assert outcome.image.shape == (24, 32, 3)


def test_a_scale_without_steps_ends_no_run(inputs):
    chosen = quick(scales=[{"fraction": 0.7, "steps": 0}, {"fraction": 1.0, "steps": 3}], steps=3)
    assert len(run.run(REFERENCE, chosen, inputs).losses) == 3


def test_a_scale_holds_no_other_ones_network(inputs):
    made, alive = [], []

    class Watched:
        def __getattr__(self, name):
            return getattr(REFERENCE, name)

        def objective(self, problem, tile=None):
            alive.append(sum(objective() is not None for objective in made))
            objective = REFERENCE.objective(problem, tile)
            made.append(weakref.ref(objective))
            return objective

    chosen = quick(scales=[{"fraction": 0.7, "steps": 1}, {"fraction": 1.0, "steps": 1}])
    run.run(Watched(), chosen, inputs, lambda progress: None)
    assert alive == [0, 0]


def test_clamping_decides_what_the_image_may_hold(inputs):
    wild = {"init.kind": "noise", "init.sigma": 5.0, "steps": 1, "result": "last", "optimizer.lr": 1e-6}
    unclipped = run.run(REFERENCE, quick("pytorch-blog", **wild), inputs).image
    assert unclipped.min() < -1
    assert unclipped.max() > 2
    for clamp in ("final", "each-step"):
        image = run.run(REFERENCE, quick("pytorch-blog", clamp=clamp, **wild), inputs).image
        assert image.min() == 0.0
        assert image.max() == 1.0


@pytest.mark.parametrize("carry", ["image", "change"])
@pytest.mark.parametrize(("clamp", "is_inside"), [("none", False), ("final", True), ("each-step", True)])
def test_clamping_holds_for_what_is_carried_to_a_finer_scale(clamp, is_inside, carry, inputs):
    wild = {"init.kind": "noise", "init.sigma": 5.0, "optimizer.kind": "sgd", "optimizer.lr": 1e-30, "result": "last"}
    scales = [{"fraction": 0.7, "steps": 1}, {"fraction": 1.0, "steps": 1}]
    chosen = quick(scales=scales, clamp=clamp, carry=carry, **wild)

    def inside(image):
        return image.min() > -1e-9 and image.max() < 1 + 1e-9

    shown = {}
    run.run(REFERENCE, chosen, inputs, lambda progress: shown.update({progress.scale: progress.image()}))
    assert inside(shown[2]) == is_inside
    stopped = run.run(REFERENCE, chosen, inputs, lambda progress: True)
    assert stopped.image.shape == shown[2].shape
    assert inside(stopped.image) == is_inside


@pytest.mark.parametrize("name", ["pytorch-blog", "default"])
def test_no_steps_give_the_initial_image(name, inputs):
    image = run.run(REFERENCE, quick(name, steps=0, **{"size.rule": "long-edge"}), inputs).image
    np.testing.assert_array_equal(image, inputs.content.pixels)


def test_an_update_out_of_range_gives_the_last_good_image(inputs):
    wild = {"steps": 1, "optimizer.kind": "sgd", "optimizer.lr": 1e30, "beta": 1e290, "size.rule": "long-edge"}
    outcome = run.run(REFERENCE, quick("pytorch-blog", **wild), inputs)
    assert "step 1 went out of range" in outcome.stopped
    np.testing.assert_array_equal(outcome.image, inputs.content.pixels)


@pytest.mark.parametrize("margin", [0, 5])
def test_the_style_image_may_be_the_start(margin, inputs):
    settings = {"size.rule": "long-edge", "size.margin": margin, "init.kind": "style"}
    outcome = run.run(REFERENCE, quick("pytorch-blog", steps=0, **settings), inputs)
    np.testing.assert_array_equal(outcome.image, inputs.styles[0].pixels)


def test_the_same_seed_gives_the_same_noise(inputs):
    def start(seed):
        return run.run(REFERENCE, quick("gatys2016", steps=0, clamp="none", **{"init.seed": seed}), inputs).image

    np.testing.assert_array_equal(start(3), start(3))
    assert not np.array_equal(start(3), start(4))
    # The deviation is in the optimised space: 50 grey levels of Caffe's 255.
    assert start(3).std() == pytest.approx(50 / 255, rel=0.05)


def test_weights_that_end_too_early_are_an_error(inputs):
    arrays = {name: array for name, array in inputs.weights.arrays.items() if name < "conv5"}
    short = type(inputs.weights)("short", arrays, None, "")
    with pytest.raises(NstError, match=r"weights short: .*relu5_1 needs conv5_1"):
        check_weights(recipe.load("default"), short)


def test_an_image_too_small_for_the_deepest_tap_is_named(inputs):
    with pytest.raises(NstError, match=r"1.png.*relu5_1"):
        run.run(REFERENCE, quick(**{"size.pixels": 15}), inputs)
    with pytest.raises(NstError, match=r"^2.png: 32 x 3 px is too small"):
        sized_scales(quick(), inputs.content, picture(2, height=8, width=80))


def test_work_is_counted_in_steps_times_pixels(inputs):
    seen = []
    chosen = quick(scales=[{"fraction": 0.75, "steps": 2}, {"fraction": 1.0, "steps": 4}])
    run.run(REFERENCE, chosen, inputs, lambda progress: seen.append(progress.work))
    coarse, fine = 24 * 18, 32 * 24
    expected = np.cumsum([coarse] * 2 + [fine] * 4) / (2 * coarse + 4 * fine)
    np.testing.assert_allclose(seen, expected)


def test_a_run_can_be_disturbed_before_every_step(inputs):
    seen = []

    def disturb(step, image):
        seen.append((step, image.shape))
        assert image.dtype == REFERENCE.dtype
        return image + 0.01 if step == 2 else image

    shown = {}
    chosen = quick(clamp="none", result="last")
    moved = run.run(REFERENCE, chosen, inputs, lambda p: shown.update({p.step: p.image()}), disturb)
    plain = {}
    run.run(REFERENCE, chosen, inputs, lambda p: plain.update({p.step: p.image()}))
    assert [step for step, _ in seen] == list(range(7))
    np.testing.assert_allclose(shown[2], plain[2], atol=1e-12)
    assert np.abs(shown[3] - plain[3]).max() > 0.005
    assert moved.image.shape == seen[-1][1]


def test_the_steps_that_are_disturbed_are_counted_on_at_a_finer_scale(inputs):
    seen = []
    chosen = quick(scales=[{"fraction": 0.7, "steps": 2}, {"fraction": 1.0, "steps": 4}])
    run.run(REFERENCE, chosen, inputs, disturb=lambda step, image: seen.append((step, image.shape[1])) or image)
    # The last image of a scale is disturbed too, and so is the first of the next.
    assert [step for step, _ in seen] == [0, 1, 2, 2, 3, 4, 5, 6]
    assert np.diff([width for _, width in seen]).nonzero()[0].tolist() == [2]


def test_a_disturbance_sees_the_runs_precision_whatever_the_backend_computes_in(inputs):
    seen = []
    single = backends.load("reference", dtype="float32")
    run.run(single, quick(), inputs, disturb=lambda step, image: seen.append(image.dtype) or image)
    assert seen == [np.float32] * 7


def test_a_margin_is_painted_and_cut_off(inputs):
    """The canvas is the content image with its reflection around it; the picture and those on the way are without."""
    plain = recipe.override(recipe.load("udacity2018"), {"size.pixels": 32, "steps": 2})
    chosen = recipe.override(plain, {"size.margin": 5})
    [scale] = sized_scales(chosen, inputs.content, *inputs.styles)
    [bare] = sized_scales(plain, inputs.content, *inputs.styles)
    content = problem_at(scale, chosen, inputs, "float64").content
    inner = problem_at(bare, plain, inputs, "float64").content
    assert content.shape[:2] == tuple(side + 10 for side in inner.shape[:2])
    assert np.array_equal(content[5:-5, 5:-5], inner)
    assert np.array_equal(content[:5], content[9:4:-1])
    assert np.array_equal(content[:, -5:], content[:, -6:-11:-1])
    shown = []
    outcome = run.run(REFERENCE, chosen, inputs, lambda progress: shown.append(progress.image()))
    assert outcome.image.shape == inner.shape == shown[0].shape
    assert np.array_equal(np.clip(shown[-1], 0, 1), outcome.image)


def test_every_scale_has_its_margin(inputs):
    scales = [{"fraction": 0.7, "steps": 2}, {"fraction": 1.0, "steps": 4}]
    shown = []
    chosen = quick(scales=scales, **{"size.margin": 5})
    outcome = run.run(REFERENCE, chosen, inputs, lambda progress: shown.append(progress.image().shape))
    assert shown == [(17, 22, 3)] * 2 + [(24, 32, 3)] * 4
    assert outcome.image.shape == (24, 32, 3)


def test_the_bar_reaches_the_end_with_a_margin_too(inputs):
    seen = []
    chosen = quick("udacity2018", steps=2, **{"size.rule": "long-edge", "size.margin": 5})
    run.run(REFERENCE, chosen, inputs, lambda progress: seen.append((progress.work, progress.width, progress.height)))
    assert seen == [(0.5, 32, 24), (1.0, 32, 24)]


@pytest.mark.parametrize("clamp", ["each-step", "none"])
def test_a_picture_may_have_the_contents_colours(clamp, inputs):
    shown = {"style": [], "content": []}
    found = {}
    for whose, pictures in shown.items():
        chosen = quick(scales=[{"fraction": 0.7, "steps": 1}, {"fraction": 1.0, "steps": 2}], clamp=clamp)
        chosen = recipe.override(chosen, {"colours": whose, "size.margin": 16, "init.kind": "noise"})
        found[whose] = run.run(
            REFERENCE, chosen, inputs, lambda progress, pictures=pictures: pictures.append(progress.image())
        )
    assert found["content"].losses == found["style"].losses
    for painted, coloured in zip(
        [*shown["style"], found["style"].image], [*shown["content"], found["content"].image], strict=True
    ):
        height, width = painted.shape[:2]
        photo = images.fitted(inputs.content.pixels, width, height)
        expected = photo + ((painted - photo) @ np.array([0.299, 0.587, 0.114]))[:, :, None]
        # On the way it is not clipped, so that an explosion is still to be seen.
        clipped = coloured is found["content"].image and clamp != "none"
        np.testing.assert_allclose(coloured, np.clip(expected, 0, 1) if clipped else expected, atol=1e-12)
        assert np.abs(coloured - painted).max() > 0.1


def test_a_scale_ends_clipped_before_it_is_enlarged(inputs, monkeypatch):
    given, resample = [], images.resample
    monkeypatch.setattr(images, "resample", lambda image, *size: given.append(image) or resample(image, *size))
    wild = {
        "clamp": "final",
        "carry": "image",
        "result": "last",
        "optimizer.kind": "adam",
        "optimizer.lr": 5.0,
        "guard": False,
    }
    scales = [{"fraction": 0.5, "steps": 2}, {"fraction": 1.0, "steps": 0}]
    run.run(REFERENCE, quick(**wild, scales=scales, **{"size.pixels": 64}), inputs)
    (enlarged, *_) = given
    assert (enlarged.shape, enlarged.min(), enlarged.max()) == ((24, 32, 3), 0.0, 1.0)
