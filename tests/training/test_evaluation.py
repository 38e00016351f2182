import json

import numpy as np
import pytest
from PIL import Image

from nst_spec import backend as backends
from nst_spec import losses, preprocessing, recipe
from nst_spec.reference import Network
from training import gallery, retrieval
from training.textures import texture


def by_mean(picture):
    return [picture.mean(axis=(0, 1))]


def test_precision_counts_crops_that_find_their_partner():
    red, green, blue = np.eye(3, dtype=np.float32)[:, None, None, :] * np.ones((3, 2, 2, 1), np.float32)
    assert retrieval.precision(by_mean, [(red, red), (green, green), (blue, blue)]) == 1
    # Each of the first two pairs is nearest to the other pair's crop.
    assert retrieval.precision(by_mean, [(red, green), (red, green), (blue, blue)]) == pytest.approx(1 / 3)


def test_crops_are_from_opposite_corners_and_grey_if_asked():
    whole = np.zeros((1, 8, 8, 3), np.uint8)
    whole[0, :4, :4] = (255, 0, 0)
    [(first, second)] = retrieval.pairs_of(whole, 4, grey=False)
    assert first[..., 0].min() == 1
    assert second.max() == 0
    [(first, _)] = retrieval.pairs_of(whole, 4, grey=True)
    assert first == pytest.approx(0.299)


def test_grams_are_those_of_the_oracle(narrow_weights):
    picture = texture(3, 32)
    described = retrieval.by_grams(narrow_weights, backends.load("reference"))(picture)
    chosen = recipe.load("default")
    network = Network(narrow_weights.arrays, chosen.taps, chosen.pooling)
    features = network.forward(preprocessing.affine("unit", "caffe")(picture.astype(float)))
    for found, tap in zip(described, ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"), strict=True):
        expected = losses.gram(features[tap], 1.0)
        assert np.corrcoef(found, expected.ravel())[0, 1] == pytest.approx(1)


def test_photographs_are_cut_into_pieces(tmp_path):
    Image.new("RGB", (400, 300), "red").save(tmp_path / "a.png")
    pieces = retrieval.photographs(tmp_path)
    assert pieces.shape == (6, 128, 128, 3)
    assert (pieces[..., 0] == 255).all()


def test_retrieval_prints_every_description(capsys, narrow_file):
    retrieval.main(["--weights", str(narrow_file), "--backend", "reference", "--count", "2", "--side", "32"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["textures"], line["grey"]) for line in lines] == [
        ("unseen seeds", False),
        ("unseen seeds", True),
        ("unseen families", False),
        ("unseen families", True),
    ]
    assert set(lines[0]["precision@1"]) == {str(narrow_file), "colour histogram"}


def test_galleries_of_pastiches_and_of_rebuilt_contents(tmp_path, photo, painting, capsys, narrow_file):
    common = ["--weights", str(narrow_file), "--backend", "reference", "--size", "32", "--set", "steps=2"]
    painted, rebuilt = tmp_path / "painted.png", tmp_path / "rebuilt.png"
    gallery.main(["-o", str(painted), "--contents", str(photo), str(photo), "--styles", str(painting), *common])
    gallery.main(["-o", str(rebuilt), "--contents", str(photo), *common])
    with Image.open(painted) as image:
        assert image.size == (2 * (32 + gallery.GAP), gallery.LABEL + 3 * (32 + gallery.GAP))
    with Image.open(rebuilt) as image:
        assert image.size == (2 * (32 + gallery.GAP), gallery.LABEL + 32 + gallery.GAP)
    assert -1 <= json.loads(capsys.readouterr().out)["alike"] <= 1
