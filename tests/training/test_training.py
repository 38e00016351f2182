import json

import numpy as np
import pytest
from safetensors import safe_open

torch = pytest.importorskip("torch")

from nst_spec import preprocessing, vgg19, weight_files, weights  # noqa: E402
from nst_spec.recipe import Pooling  # noqa: E402
from nst_spec.reference import Network  # noqa: E402
from training import crops, export, pictures  # noqa: E402
from training import train as training  # noqa: E402
from training.network import CLASS_TAPS, SHAPE_TAPS, Trainee  # noqa: E402

SMALL = training.Settings(
    widths=(4, 6, 8, 8, 8),
    textures=6,
    scenes=3,
    size=72,
    side=64,
    textures_per_step=4,
    scenes_per_step=2,
    steps=3,
)


def random_pictures(count, size=70):
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3)).astype(np.uint8)


def test_training_is_repeatable_and_reports_every_stretch(tmp_path):
    def reports():
        return [report for _, report in training.train(SMALL, tmp_path, every=2)]

    first, second = reports(), reports()
    assert [report.step for report in first] == [2, 3]
    assert set(first[0].accuracy) == set(CLASS_TAPS)
    assert set(first[0].shapes) == set(SHAPE_TAPS)
    assert [report.loss for report in first] == [report.loss for report in second]


def test_training_learns():
    """Six pictures of different colours and marks are told apart after some steps."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    textures = np.stack([np.rint(striped(seed, 72) * 255).astype(np.uint8) for seed in range(6)])
    network = Trainee(SMALL.widths, 6)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(25):
        batch = crops.batch(rng, textures, textures, (6, 3), 64)
        loss, parts = training.losses(network, batch, SMALL)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    assert parts["accuracy relu2_1"] > 0.5


def striped(seed, size):
    y, x = np.mgrid[0:size, 0:size]
    wave = 0.5 + 0.5 * np.sin((x * np.cos(seed) + y * np.sin(seed)) * (0.3 + 0.2 * seed))
    return np.repeat(wave[..., None], 3, axis=2) * (0.4 + 0.1 * np.array([seed % 3, seed % 2, 1]))


def test_the_folded_network_is_the_trained_one(tmp_path):
    torch.manual_seed(1)
    network = Trainee(SMALL.widths, 6)
    for _ in range(3):  # so that the normalisation has statistics that differ from one
        network(torch.rand(4, 3, 64, 64))
    path = tmp_path / "w.safetensors"
    export.export(network, path, {"seed": 1})
    with safe_open(path, "numpy") as file:
        assert file.get_tensor("conv3_1.weight").dtype == np.float16
        assert json.loads(file.metadata()["training"])["seed"] == 1
    weight_set = weights.load(str(path))
    assert weight_set.widths == SMALL.widths
    assert weight_set.preprocessing == "imagenet"
    image = np.random.default_rng(2).random((32, 48, 3))
    with torch.no_grad():
        expected = network.eval()(torch.tensor(image, dtype=torch.float32).permute(2, 0, 1)[None])
    oracle = Network(weight_set.arrays, ("relu5_1",), Pooling(kind="average"))
    received = oracle.forward(preprocessing.affine("unit", "imagenet")(image))
    for tap in (*CLASS_TAPS, *SHAPE_TAPS):
        features = expected[tap][0].permute(1, 2, 0).numpy()
        assert np.abs(received[tap] - features).max() < 5e-3 * np.abs(features).max()


def test_crops_come_from_their_pictures_and_carry_their_class():
    textures, scenes = random_pictures(5), random_pictures(4)
    batch = crops.batch(np.random.default_rng(1), textures, scenes, (3, 2), 64)
    assert batch.plain.shape == batch.coloured.shape == (5, 3, 64, 64)
    assert len(batch.classes) == 3
    for crop, index in zip(batch.plain, batch.classes, strict=False):
        whole = torch.from_numpy(textures[index]).permute(2, 0, 1) / 255
        found = [torch.equal(whole[:, top : top + 64, left : left + 64], crop) for top in range(7) for left in range(7)]
        assert sum(found) == 1


def test_recolouring_leaves_some_alone_and_greys_others():
    plain = torch.rand(400, 3, 8, 8)
    coloured = crops.recoloured(np.random.default_rng(0), plain)
    alone = (coloured == plain).flatten(1).all(dim=1).float().mean()
    grey = ((coloured - coloured[:, :1]).abs().amax(dim=(1, 2, 3)) < 1e-6).float().mean()
    assert 0.3 < alone < 0.5
    assert 0.2 < grey < 0.4
    assert coloured.min() >= 0
    assert coloured.max() <= 1


def test_relief_knows_shapes_not_light_or_contrast():
    plain = torch.rand(2, 3, 40, 40)
    assert torch.allclose(crops.relief(plain), crops.relief(plain + 0.2), atol=1e-3)
    both = torch.stack([crops.relief(plain).flatten(), crops.relief(plain * 0.5).flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.999
    assert 0.8 < both[1].std() / both[0].std() < 1
    assert crops.relief(torch.full((1, 3, 40, 40), 0.3)).abs().max() < 1e-2


def test_no_training_sees_a_held_out_family():
    assert not set(pictures.SEEN) & set(pictures.HELD_OUT)
    assert len(pictures.SEEN) > 40


def test_rendered_pictures_are_kept_and_checked(tmp_path):
    keep = tmp_path / "p.npy"
    made = pictures.rendered(small_stripes, range(3), keep)
    assert np.array_equal(made, pictures.rendered(small_stripes, range(3), keep))
    with pytest.raises(ValueError, match="expected 4 pictures, received 3"):
        pictures.rendered(small_stripes, range(4), keep)


def small_stripes(seed):
    return striped(seed, 16)


def test_the_command_writes_a_weight_set(tmp_path, capsys):
    path = tmp_path / "w.safetensors"
    options = {"steps": 2, "textures": 5, "scenes": 2, "size": 66, "textures-per-step": 4, "scenes-per-step": 1}
    typed = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    training.main(["-o", str(path), "--pictures", str(tmp_path), "--widths", "4", "4", "4", "4", "4", *typed])
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line)["step"] == 2
    with safe_open(path, "numpy") as file:
        told = json.loads(file.metadata()["training"])
    assert told["report"] == json.loads(line)
    assert told["command"].startswith("python -m training.train -o embedded.safetensors --textures 5 --scenes 2")
    assert told["command"].endswith("--steps 2 --widths 4 4 4 4 4")
    arrays, space = weight_files.read(path)
    assert vgg19.widths_of(arrays) == (4, 4, 4, 4, 4)
    assert space == "imagenet"
