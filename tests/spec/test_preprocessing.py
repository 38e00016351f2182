import itertools

import numpy as np
import pytest

from nst_spec import preprocessing
from nst_spec.errors import NstError

COLOUR = np.array([0.2, 0.5, 1.0])
# Worked by hand from the published constants.
BY_HAND = {
    "unit": [0.2, 0.5, 1.0],
    "imagenet": [(0.2 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (1.0 - 0.406) / 0.225],
    "caffe": [255 - 103.939, 127.5 - 116.779, 51 - 123.68],
    "caffe-256": [256 - 103.939, 128 - 116.779, 51.2 - 123.68],
}


@pytest.mark.parametrize("space", BY_HAND)
def test_a_colour_in_every_space(space):
    np.testing.assert_allclose(preprocessing.affine("unit", space)(COLOUR), BY_HAND[space], rtol=1e-14)


@pytest.mark.parametrize(("source", "target"), list(itertools.product(BY_HAND, BY_HAND)))
def test_every_space_from_every_other(source, target):
    received = preprocessing.affine(source, target)(np.array(BY_HAND[source]))
    np.testing.assert_allclose(received, BY_HAND[target], rtol=1e-12, atol=1e-12)


def test_the_map_to_itself_is_exact():
    image = np.random.default_rng(0).random((4, 5, 3))
    assert preprocessing.affine("caffe", "caffe")(image) is image


def test_the_gradient_is_pulled_back_by_the_adjoint():
    rng = np.random.default_rng(1)
    change, gradient = rng.random((2, 2, 3)), rng.random((2, 2, 3))
    to_caffe = preprocessing.affine("imagenet", "caffe")
    forward = to_caffe(change) - to_caffe(np.zeros((2, 2, 3)))
    assert np.vdot(gradient, forward) == pytest.approx(np.vdot(to_caffe.pull_back(gradient), change), rel=1e-12)


def test_the_box_is_the_image_of_black_and_white():
    low, high = preprocessing.box("caffe")
    np.testing.assert_allclose(low, [-103.939, -116.779, -123.68])
    np.testing.assert_allclose(high, [151.061, 138.221, 131.32])


def test_an_unknown_space_is_named():
    with pytest.raises(NstError, match=r"'lab'.*unit, imagenet, caffe"):
        preprocessing.affine("unit", "lab")
