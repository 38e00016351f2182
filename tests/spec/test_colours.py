import numpy as np
import pytest

from nst_spec import colours
from tests.conftest import smooth_image


def test_brightness_is_that_of_television():
    pixels = np.eye(3)[None]
    np.testing.assert_allclose(colours.brightness(pixels)[0, :, 0], [0.299, 0.587, 0.114])
    assert colours.brightness(np.full((1, 1, 3), 0.25))[0, 0, 0] == pytest.approx(0.25)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_brightness_is_the_images_and_colour_the_contents(dtype):
    content, image = (smooth_image(12, 9, seed).astype(dtype) for seed in (1, 2))
    before = content.copy(), image.copy()
    found = colours.in_colours_of(content, image)
    assert found.dtype == dtype
    # Rows of the matrix from RGB to YUV, ITU-R BT.601.
    y, u, v = [0.299, 0.587, 0.114], [-0.14713, -0.28886, 0.436], [0.615, -0.51499, -0.10001]
    np.testing.assert_allclose(found @ np.array(y), image @ np.array(y), atol=1e-6)
    for chroma in (u, v):
        np.testing.assert_allclose(found @ np.array(chroma), content @ np.array(chroma), atol=2e-5)
    np.testing.assert_array_equal([content, image], before)


def test_a_photo_keeps_its_own_picture():
    photo = smooth_image(12, 9, 1)
    np.testing.assert_allclose(colours.in_colours_of(photo, photo), photo, atol=1e-15)
