"""Tiles are exact: what they own covers everything once, and their sums are the whole image's, by the oracle."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nst_spec import tiles, vgg19, weights
from nst_spec.errors import NstError
from nst_spec.recipe import Pooling
from nst_spec.reference import Network
from tests.conftest import relative, smooth_image

LENGTHS = st.integers(1, 700)
SIDES = st.integers(1, 12).map(lambda cells: cells * 16)
TAPS = st.sampled_from(vgg19.TAPS)
ROUNDINGS = st.sampled_from(["floor", "ceil"])
TINY = weights.random_weights((3, 4, 5, 6, 7)).arrays
quick = settings(max_examples=200)


def test_margins_by_hand():
    # 2 convolutions at 1 px, 2 at 2, 4 at 4, then 2 of 8 (38, so 48), or 4 of 8 and one of 16 (70, so 80) ...
    expected = {"relu4_2": 48, "conv5_1": 80, "relu5_1": 80, "relu5_2": 96, "relu5_3": 112, "relu5_4": 128}
    assert {tap: tiles.margin([tap]) for tap in expected} == expected
    assert tiles.margin(["relu1_1", "relu4_2"]) == 48


@quick
@given(LENGTHS, SIDES, st.integers(0, 8).map(lambda cells: cells * 16))
def test_tiles_cover_an_axis_and_keep_to_the_grid(length, side, margin):
    found = tiles.spans(length, side, margin)
    assert (found[0].start, found[-1].stop) == (0, length)
    assert len(found) == -(-length // side)
    for before, after in itertools.pairwise(found):
        assert before.stop == after.start
        assert after.start % 16 == 0
    for span in found:
        assert 0 < span.stop - span.start <= side
        assert span.first == max(0, span.start - margin)
        assert span.last == min(length, span.stop + margin)


@quick
@given(LENGTHS, SIDES, TAPS, ROUNDINGS)
def test_every_position_of_a_tap_has_one_owner(length, side, tap, rounding):
    owned = []
    for span in tiles.spans(length, side, tiles.margin([tap])):
        positions = np.arange(length // 16 * 16 + 32)[span.first // vgg19.stride(tap) :]
        owned.extend(positions[span.owned(tap, rounding)])
    assert owned == list(range(vgg19.map_side(tap, length, rounding)))


def gradients(network, image, slopes):
    """The features of an image at the network's taps, and what slopes of each (a function of them) give the image."""
    outputs = network.forward(image)
    features = {tap: outputs[tap] for tap in network.taps}
    return features, network.backward(outputs, slopes(features))["input"]


@settings(max_examples=12)
@given(st.integers(17, 150), st.integers(17, 90), SIDES, TAPS, ROUNDINGS, st.sampled_from(["max", "average"]))
def test_grams_and_gradient_are_the_whole_image_s(height, width, side, tap, rounding, kind):
    image = smooth_image(height, width, 3)
    network = Network(TINY, (tap,), Pooling(kind=kind, rounding=rounding))
    whole, gradient = gradients(network, image, lambda features: {tap: features[tap] ** 2})
    gram, tiled = 0.0, np.zeros_like(gradient)
    for piece in tiles.split(height, width, side, (tap,)):
        own = piece.owned(tap, rounding)

        def slopes(features, own=own):
            slope = np.zeros_like(features[tap])
            slope[own] = features[tap][own] ** 2
            return {tap: slope}

        features, share = gradients(network, image[piece.crop], slopes)
        flat = features[tap][own].reshape(-1, features[tap].shape[-1])
        gram = gram + flat.T @ flat
        tiled[piece.crop] += share
    flat = whole[tap].reshape(-1, whole[tap].shape[-1])
    assert relative(gram, flat.T @ flat) <= 1e-13
    assert relative(tiled, gradient) <= 1e-13


@pytest.mark.parametrize("tap", ["relu4_2", "relu5_1", "relu5_4"])
def test_a_smaller_margin_would_not_do(tap):
    # In the middle of a row of tiles, one grid cell less is seen; so the margins are no larger than they must be.
    image = smooth_image(32, 400, 3)
    network = Network(TINY, (tap,), Pooling())
    whole = network.forward(image)[tap]
    for margin, exact in ((tiles.margin([tap]), True), (tiles.margin([tap]) - 16, False)):
        span = tiles.spans(400, 128, margin)[1]
        part = network.forward(image[:, span.crop])[tap][:, span.owned(tap, "floor")]
        stride = vgg19.stride(tap)
        assert np.allclose(part, whole[:, span.start // stride : span.stop // stride], rtol=1e-12, atol=0) == exact


@pytest.mark.parametrize(("given", "accepted"), [("auto", "auto"), ("off", "off"), ("512", 512), (16, 16)])
def test_a_tile_is_a_word_or_a_multiple_of_the_grid(given, accepted):
    assert tiles.checked(given) == accepted


@pytest.mark.parametrize("wrong", ["on", "100", 0, 8, -16, 100, 64.0, True, None, ""])
def test_what_is_no_tile_is_refused(wrong):
    with pytest.raises(NstError, match=r"tile: received .*accepted: auto, off, or a multiple of 16 px, 16 or more"):
        tiles.checked(wrong)


def test_smaller_tiles_end_where_margins_prevail():
    sides = [4000]
    while (next_side := tiles.smaller(sides[-1])) is not None:
        sides.append(next_side)
    assert sides == [4000, 1024, 512, 256, 128, 64]
    assert tiles.smaller(200) == 64
