"""nst_torch against torchvision and torch.optim themselves."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torchvision.models import vgg19 as torchvision_vgg19  # noqa: E402

from nst_spec import backend as backends  # noqa: E402
from nst_spec import generator, heap, recipe, vgg19, weights  # noqa: E402
from nst_spec.recipe import Pooling  # noqa: E402
from nst_torch import losses, network, optimizers  # noqa: E402
from tests.conftest import make_problem, relative  # noqa: E402


def build(arrays, taps=vgg19.TAPS, pooling=None, dtype=torch.float64):
    kinds = {"dtype": dtype, "image_dtype": dtype, "device": torch.device("cpu")}
    return network.Network(arrays, taps, pooling or Pooling(), **kinds)


def test_the_full_network_is_torchvisions():
    arrays = weights.random_weights().arrays
    with torch.device("meta"):
        original = torchvision_vgg19(weights=None).features
    original.load_state_dict(
        {
            f"{vgg19.torchvision_index(name)}.{part}": torch.tensor(arrays[f"{name}.{part}"])
            for name in vgg19.CONVOLUTIONS
            for part in ("weight", "bias")
        },
        assign=True,
    )
    original = original.to(memory_format=torch.channels_last)
    image = torch.randn(1, 3, 37, 50, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = build(arrays, dtype=torch.float32)(image)
        x = image
        for index, layer in enumerate(original[:-1]):
            x = layer(x.clone())  # cloned, since its ReLU works in place
            name = vgg19.LAYERS[index]
            if name in features:
                torch.testing.assert_close(
                    features[name], x, rtol=0, atol=0, msg=lambda text, name=name: f"{name}: {text}"
                )
    assert len(features) == 32


def test_the_network_ends_at_the_deepest_tap(narrow_weights):
    built = build(narrow_weights.arrays, ["relu1_1", "conv2_1"])
    assert list(built.layers) == ["conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1", "conv2_1"]
    assert not any(parameter.requires_grad for parameter in built.parameters())


def test_a_raw_tap_is_not_rectified_by_the_layer_after_it(narrow_weights):
    features = build(narrow_weights.arrays, ["conv1_1", "relu1_1"])(torch.randn(1, 3, 8, 8, dtype=torch.float64))
    assert features["conv1_1"].min() < 0
    torch.testing.assert_close(features["conv1_1"].clamp(min=0), features["relu1_1"])


def test_a_gradient_reaches_the_image_through_what_was_rectified_in_place(narrow_weights):
    image = torch.randn(1, 3, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    built = build(narrow_weights.arrays, ["conv1_2", "relu2_1"])

    def loss(x, wanted):
        features = built(x, wanted)
        return features["conv1_2"].square().sum() + features["relu2_1"].square().sum()

    # Where every layer is wanted, nothing is rectified in place.
    slopes = []
    for wanted in (built.taps, list(built.layers)):
        x = image.clone().requires_grad_()
        slopes += torch.autograd.grad(loss(x, wanted), x)
    torch.testing.assert_close(*slopes, rtol=0, atol=0)
    assert slopes[0].abs().max() > 0


@pytest.mark.parametrize(
    ("settings", "original"),
    [
        (recipe.Adam(lr=0.05), lambda x: torch.optim.Adam([x], lr=0.05)),
        (
            recipe.Adam(lr=0.05, beta1=0.5, epsilon=0.1),
            lambda x: torch.optim.Adam([x], lr=0.05, betas=(0.5, 0.999), eps=0.1),
        ),
        (recipe.SGD(lr=0.05), lambda x: torch.optim.SGD([x], lr=0.05)),
        (recipe.LBFGS(history=5), lambda x: torch.optim.LBFGS([x], max_iter=1, history_size=5)),
    ],
)
def test_update_rules_are_torchs(settings, original):
    ours = torch.linspace(-1, 2, 12, dtype=torch.float64)
    theirs = ours.clone().requires_grad_()
    update, step = optimizers.optimizer_for(settings, ours), original(theirs)

    def loss(x):
        return ((x - 1) ** 4).sum() + (x[1:] * x[:-1]).sum()

    def closure():
        step.zero_grad()
        value = loss(theirs)
        value.backward()
        return value

    for _ in range(15):
        x = ours.detach().requires_grad_()
        (ours.grad,) = torch.autograd.grad(loss(x), x)
        update.update()
        step.step(closure)
    np.testing.assert_array_equal(ours.numpy(), theirs.detach().numpy())


def test_a_tile_that_owns_nothing_adds_nothing():
    features = torch.zeros(1, 8, 1, 0, dtype=torch.float64, requires_grad=True)
    gram = losses.gram(features, 4.0)
    np.testing.assert_array_equal(gram.detach(), np.zeros((8, 8)))
    (slope,) = torch.autograd.grad(gram.sum(), features)
    assert slope.shape == features.shape


def test_a_sum_over_many_positions_keeps_float32s_digits():
    features = torch.from_numpy(generator.uniform(1, (1, 512, 512, 64))).float().permute(0, 3, 1, 2)
    flat = features.double().flatten(2)[0]
    assert relative(losses.gram(features, 1.0), flat @ flat.T) <= 1e-7


@pytest.mark.parametrize(
    ("fast", "tile", "kept"), [(True, "off", [True]), (True, 64, [False]), (False, "off", []), (False, 64, [])]
)
def test_only_a_fast_run_without_tiles_keeps_the_memory_that_it_frees(fast, tile, kept, monkeypatch, narrow_weights):
    calls = []
    monkeypatch.setattr(heap, "keep", calls.append)
    images = [generator.uniform(seed, (96, 80, 3)) for seed in (1, 2)]
    problem = make_problem("default", narrow_weights, *images, dtype="float32")
    backends.load("torch", device="cpu", fast=fast, tile=tile).objective(problem)
    assert calls == kept
