import errno
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import smooth_image, to_uint8


@pytest.fixture
def arguments(photo, painting, narrow_file, backend_name):
    options = ["--weights", narrow_file, "--size", 32, "--dtype", "float64", "--backend", backend_name]
    return ["evaluate", photo, painting, *options]


def test_the_json_has_every_number(nst, arguments, backend_name):
    code, out, err = nst(*arguments, "--recipe", "tf-tutorial", "--preprocessing", "caffe", "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert list(found) == [
        "backend",
        "recipe",
        "weights",
        "preprocessing",
        "width",
        "height",
        "dtype",
        "terms",
        "content",
        "style",
        "tv",
        "total",
        "factors",
        "gradient",
    ]
    assert found["factors"] == {"content": 1e4, "style": 1e-2, "tv": 30}
    expected = (backend_name, "tf-tutorial", "caffe", 32, 24, "float64")
    assert tuple(found[key] for key in ("backend", "recipe", "preprocessing", "width", "height", "dtype")) == expected
    assert list(found["terms"]["style"]) == ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"]
    assert found["style"] == pytest.approx(sum(found["terms"]["style"].values()), rel=1e-14)
    total = 1e4 * found["content"] + 1e-2 * found["style"] + 30 * found["tv"]
    assert found["total"] == pytest.approx(total, rel=1e-14)
    assert found["content"] == 0.0  # it begins from the content image
    assert 0 < found["gradient"]["max"] <= found["gradient"]["l2"]


def test_an_image_of_the_runs_size_is_used_pixel_by_pixel_and_another_is_resized(nst, arguments, tmp_path):
    exact = tmp_path / "exact.png"
    Image.fromarray(to_uint8(smooth_image(24, 32, 9))).save(exact)
    large = tmp_path / "large.png"
    Image.open(exact).resize((64, 48), Image.Resampling.NEAREST).save(large)
    totals = [json.loads(nst(*arguments, "--json", "--image", image)[1])["total"] for image in (exact, large)]
    assert totals[0] > 0
    assert totals[0] != totals[1]
    assert totals[0] == json.loads(nst(*arguments, "--json", "--image", exact)[1])["total"]


def test_the_arrays_are_saved(nst, arguments, narrow_weights):
    code, out, err = nst(
        *arguments, "--recipe", "sonare2024", "--resize", "long-edge", "--save-arrays", "a.npz", "--json"
    )
    found = json.loads(out)
    assert code == 0
    assert "Gram matrices, targets and gradient are in a.npz" in err
    with np.load("a.npz") as arrays:
        assert arrays["gradient"].shape == (24, 32, 3)
        assert np.linalg.norm(arrays["gradient"]) == pytest.approx(found["gradient"]["l2"], rel=1e-14)
        for tap, width in zip(found["terms"]["style"], narrow_weights.widths, strict=True):
            gram, target = arrays[f"gram/{tap}"], arrays[f"target/{tap}"]
            assert gram.shape == target.shape == (width, width)
            positions = {"conv1_1": 768, "conv2_1": 192, "conv3_1": 48, "conv4_1": 12, "conv5_1": 2}[tap]
            # The report's formula by hand: 1/(4 N^2 M^2) sum (G - A)^2.
            expected = ((gram - target) ** 2).sum() / (4 * width**2 * positions**2)
            assert found["terms"]["style"][tap] == pytest.approx(expected, rel=1e-12)
    assert nst(*arguments, "--save-arrays", "a.npz")[0] == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.txt", "a.txt: expected a name that ends in .npz"),
        ("file/a.npz", "a.npz: file is not a folder"),
        ("new/a.npz", "a.npz: the folder new does not exist"),
    ],
)
def test_arrays_need_a_folder_and_a_name_that_says_what_they_are(name, message, nst, arguments):
    Path("file").touch()
    code, _, err = nst(*arguments, "--save-arrays", name)
    assert code == 2
    assert message in err
    assert not Path("new").exists()


def test_a_folder_in_the_arrays_place_is_found_before_the_work(nst, arguments):
    Path("a.npz").mkdir()
    assert nst(*arguments, "--save-arrays", "a.npz", "--force") == (2, "", "nst: a.npz: is a directory\n")


def test_quiet_says_nothing_but_the_result(nst, arguments):
    code, out, err = nst(
        *arguments, "--save-arrays", "a.npz", "--quiet", "--preprocessing", "caffe", "--style-taps", "relu1_1=0.25"
    )
    assert (code, err) == (0, "")
    assert "gradient l2" in out
    assert re.search(r"^  style    relu1_1  \S+  \(with its weight 0\.25\)$", out, re.MULTILINE)


def test_arrays_that_cannot_be_written_leave_what_was_there(nst, arguments, monkeypatch):
    def write(file, **arrays):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    Path("a.npz").write_bytes(b"precious")
    monkeypatch.setattr(np, "savez", write)
    code, _, err = nst(*arguments, "--save-arrays", "a.npz", "--force")
    assert code == 2
    assert "a.npz: No space left on device" in err
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == {"a.npz": b"precious"}


@pytest.mark.parametrize("options", [["--weights", "w.npz"], ["--recipe", "mine.toml"]], ids=lambda words: words[0])
def test_arrays_never_take_the_place_of_weights(options, nst, photo, painting, narrow_weights):
    np.savez("w.npz", **narrow_weights.arrays)
    named = 'weights = "w.npz"\npreprocessing = "caffe"\n'
    Path("mine.toml").write_text(f'source = "me"\nbased_on = "gatys2016"\n{named}')
    before = Path("w.npz").read_bytes()
    arguments = ["evaluate", photo, painting, "--size", 32, "--backend", "reference", *options]
    code, _, err = nst(*arguments, "--save-arrays", "w.npz", "--force")
    assert code == 2
    assert "w.npz: is one of this command's own inputs" in err
    assert Path("w.npz").read_bytes() == before


def test_the_gradient_is_by_the_image_in_unit_rgb(nst, arguments, tmp_path):
    arguments = [*arguments, "--recipe", "udacity2018", "--resize", "long-edge", "--json"]
    pixels = to_uint8(0.1 + 0.8 * smooth_image(24, 32, 9))
    totals, slopes = [], []
    for change in (0, 1):
        pixels[10, 12, 0] += change
        Image.fromarray(pixels).save(tmp_path / "judged.png")
        _, out, _ = nst(*arguments, "--image", tmp_path / "judged.png", "--save-arrays", f"{change}.npz")
        totals.append(json.loads(out)["total"])
        slopes.append(np.load(f"{change}.npz")["gradient"][10, 12, 0])
    # By one grey level of red: the trapezoidal rule.
    assert (totals[1] - totals[0]) * 255 == pytest.approx(np.mean(slopes), rel=0.02)


def test_the_table_names_every_term(nst, arguments):
    code, out, _ = nst(*arguments)
    assert code == 0
    for word in ("relu4_2", "relu1_1", "content", "style", "tv", "total", "gradient l2"):
        assert word in out


@pytest.mark.parametrize(
    ("recipe", "header", "expected"),
    [
        ("pytorch-blog", None, "unit"),  # the recipe's own wins
        ("pytorch-blog", "caffe", "unit"),
        ("gatys2016", None, "caffe"),  # a file that names none takes that of the recipe's set
        ("udacity2018", None, "imagenet"),
        ("default", None, "caffe"),  # auto counts as caffe
        ("gatys2016", "imagenet", "imagenet"),  # else the weight set's own
        ("neural-style", None, "caffe-256"),
    ],
)
def test_which_preprocessing_feeds_the_network(
    nst, photo, painting, narrow_weights, tmp_path, recipe, header, expected
):
    from nst_spec import weight_files

    path = tmp_path / "some.safetensors"
    weight_files.write(path, narrow_weights.arrays, {"preprocessing": header} if header else {})
    options = ["--backend", "reference", "--weights", path, "--size", 32, "--json", "--recipe", recipe]
    code, out, err = nst("evaluate", photo, painting, *options)
    assert code == 0, err
    assert json.loads(out)["preprocessing"] == expected


def test_the_oracle_computes_in_float64_from_pixels_of_the_run_s_precision(nst, photo, painting, narrow_file):
    # The photo's own size: resizing rounds pixels to float32.
    options = ["--backend", "reference", "--weights", narrow_file, "--size", 64, "--json"]
    single, double = (
        json.loads(nst("evaluate", photo, painting, *options, "--dtype", dtype)[1]) for dtype in ("float32", "float64")
    )
    assert (single["dtype"], double["dtype"]) == ("float32", "float64")
    assert single["total"] != double["total"]
    assert single["total"] == pytest.approx(double["total"], rel=1e-6)
    assert single["total"] != float(np.float32(single["total"]))
    _, table, _ = nst("evaluate", photo, painting, *options[:-1], "--dtype", "float32")
    assert "reference float32 computed in float64, weights" in table
