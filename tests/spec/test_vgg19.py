import numpy as np
import pytest

from nst_spec import vgg19
from nst_spec.errors import NstError


def test_layers_have_the_indices_of_torchvisions_features():
    # Read off print(torchvision.models.vgg19().features).
    expected = {"conv1_1": 0, "conv2_1": 5, "conv3_1": 10, "conv4_1": 19, "conv4_2": 21, "conv5_1": 28, "relu5_4": 35}
    assert {layer: vgg19.torchvision_index(layer) for layer in expected} == expected
    assert len(vgg19.CONVOLUTIONS) == 16
    assert len(vgg19.TAPS) == 32
    assert len(vgg19.LAYERS) == 37


def test_a_convolution_and_its_relu_share_a_keras_layer():
    assert vgg19.keras_name("conv4_2") == vgg19.keras_name("relu4_2") == "block4_conv2"
    assert vgg19.keras_name("pool3") == "block3_pool"


def test_the_network_ends_at_the_deepest_tap():
    assert vgg19.layers_to(["relu1_2", "conv1_1"]) == ("conv1_1", "relu1_1", "conv1_2", "relu1_2")
    assert vgg19.layers_to(["conv2_1"])[-2:] == ("pool1", "conv2_1")


@pytest.mark.parametrize(
    ("layer", "side"), [("relu1_2", 1), ("conv2_1", 2), ("relu4_2", 8), ("relu5_4", 16), ("pool1", 2), ("pool4", 16)]
)
def test_strides(layer, side):
    assert vgg19.stride(layer) == side


def test_multiply_adds_are_those_of_the_published_network():
    # Simonyan & Zisserman's configuration E at 224 x 224 pixels: 19.6e9 with its fully connected layers, 0.124e9.
    assert vgg19.multiply_adds(vgg19.WIDTHS, 224, 224, ["relu5_4"]) == pytest.approx(19.508e9, rel=1e-4)
    assert vgg19.multiply_adds((4, 5), 7, 9, ["conv2_1"]) == 7 * 9 * 9 * (3 * 4 + 4 * 4) + 3 * 4 * 9 * 4 * 5


def test_the_multiply_adds_of_a_step_are_those_worked_by_hand():
    # 4 and 5 channels, 7 x 9 pixels, 3 x 4 of them after the pooling; Gram matrices of 4 x 4 and 5 x 5.
    convolutions = 63 * 9 * (3 * 4 + 4 * 4) + 12 * 9 * 4 * 5
    grams = 63 * 4 * 4 + 12 * 5 * 5
    assert vgg19.step_multiply_adds((4, 5), 7, 9, ["conv2_1"], []) == 2 * convolutions
    both = ["relu1_2", "conv2_1"]
    assert vgg19.step_multiply_adds((4, 5), 7, 9, both, both) == 2 * (convolutions + grams)


def test_an_unknown_tap_is_named_with_the_accepted_ones():
    with pytest.raises(NstError, match=r"'relu6_1'.*conv1_1, relu1_1"):
        vgg19.check_taps(["relu6_1"])


def test_widths_are_read_from_the_arrays():
    shapes = vgg19.weight_shapes((4, 5, 6, 7, 8))
    arrays = {name: np.zeros(shape) for name, shape in shapes.items()}
    assert shapes["conv3_1.weight"] == (6, 5, 3, 3)
    assert vgg19.widths_of(arrays) == (4, 5, 6, 7, 8)
    early = {name: array for name, array in arrays.items() if name < "conv4"}
    assert vgg19.widths_of(early) == (4, 5, 6)


@pytest.mark.parametrize("name", ["conv2_2.weight", "conv2_2.bias"])
def test_an_array_of_another_shape_is_named(name):
    arrays = {key: np.zeros(shape) for key, shape in vgg19.weight_shapes((4, 5, 6, 7, 8)).items()}
    arrays[name] = np.zeros((9, *arrays[name].shape[1:]))
    with pytest.raises(NstError, match=name):
        vgg19.widths_of(arrays)


def test_a_hole_in_the_arrays_is_named():
    arrays = {key: np.zeros(shape) for key, shape in vgg19.weight_shapes((4, 5, 6, 7, 8)).items()}
    del arrays["conv3_2.weight"]
    with pytest.raises(NstError, match=r"conv3_2\.weight"):
        vgg19.widths_of(arrays)
