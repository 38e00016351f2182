"""Winograd's algorithm against the sum that it stands for."""

import numpy as np
import pytest

from nst_spec import generator, winograd


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_a_tile_gives_the_outputs_of_the_plain_sum(seed, turned):
    from_input, to_output = winograd.matrices(turned)
    d, g = generator.uniform(seed, (6, 6)), generator.uniform(seed + 100, (3, 3)) - 0.5
    summed = g[::-1, ::-1] if turned else g
    expected = [[(d[i : i + 3, j : j + 3] * summed).sum() for j in range(4)] for i in range(4)]
    received = to_output @ ((winograd.KERNEL @ g.ravel()) * (from_input @ d.ravel()))
    np.testing.assert_allclose(received.reshape(4, 4), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("length", "tiles"), [(1, 1), (4, 1), (5, 2), (8, 2), (97, 25)])
def test_tiles_cover_an_axis(length, tiles):
    assert winograd.tiles(length) == tiles
