"""What each backend does when an optimisation goes wrong."""

import itertools

import numpy as np
import pytest

from nst_spec import recipe, run
from nst_spec.errors import NstError
from nst_spec.images import Picture
from nst_spec.inputs import Inputs
from nst_spec.scales import problem_at, sized_scales
from tests.conftest import smooth_image


@pytest.fixture
def inputs(narrow_weights):
    content, style = (Picture(smooth_image(32, 32, seed), f"{seed}.png", "") for seed in (1, 2))
    return Inputs(content, (style,), narrow_weights, "caffe")


SCALES = [{"fraction": 1.0, "steps": 30}]


def chosen(**settings):
    settings = {key.replace("__", "."): value for key, value in settings.items()}
    return recipe.override(recipe.load("default"), {"size.pixels": 32, "scales": SCALES} | settings)


def test_a_guarded_lbfgs_never_ends_worse_than_it_began(backend, inputs):
    wild = chosen(optimizer__kind="lbfgs", optimizer__lr=30.0, optimizer__scaling=1.0, clamp="none", result="best")
    outcome = run.run(backend("float32"), wild, inputs)
    totals = [losses.total for losses in outcome.losses]
    assert max(totals) > 10 * totals[0]  # it did explode
    assert min(totals) < totals[0]
    assert outcome.stopped is None
    assert len(totals) == 30
    # The picture is the one that the lowest loss was computed on.
    problem = problem_at(sized_scales(wild, inputs.content, *inputs.styles)[-1], wild, inputs, "float32")
    judged = backend("float32").objective(problem).evaluate(outcome.image).losses.total
    assert judged == pytest.approx(min(totals), rel=1e-4)


def test_an_unguarded_explosion_ends_at_the_last_good_image_and_names_the_term(backend, inputs):
    wild = chosen(optimizer__lr=1e30, clamp="none", guard=False, result="last")
    outcome = run.run(backend("float32"), wild, inputs)
    assert "the content term of relu4_2 is not finite at step 2" in outcome.stopped
    np.testing.assert_allclose(outcome.image, inputs.content.pixels, atol=1e-6)


def test_a_problem_that_is_not_finite_from_the_start_is_an_error(backend, inputs):
    hot = chosen(init__kind="noise", init__sigma=1e35, clamp="none")
    with pytest.raises(NstError, match="no picture: the content term of relu4_2 is not finite at the first step"):
        run.run(backend("float32"), hot, inputs)


def test_the_images_of_steps_are_copies(backend, inputs):
    frames = []
    run.run(backend("float32"), chosen(steps=4, result="last"), inputs, lambda p: frames.append(p.image()))
    assert all(not np.array_equal(a, b) for a, b in itertools.pairwise(frames))
