"""Weight sets: every file format, the hash, random weights, and which preprocessing feeds the network."""

import dataclasses
import hashlib
import importlib.util
import json
import math
import pickle
import struct
import subprocess
import sys
import zipfile
from itertools import islice
from pathlib import Path

import h5py
import numpy as np
import pytest
import safetensors
import safetensors.numpy
import scipy.io

from nst_spec import vgg19, weight_files, weights
from nst_spec.errors import NstError
from tests.conftest import splitmix64

NARROW = (8, 16, 32, 64, 64)
KEYS = [f"conv{block}_{index}" for block, count in enumerate((2, 2, 4, 4, 4), start=1) for index in range(1, count + 1)]
FEATURES = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)  # the Conv2d's in print(torchvision vgg19)
VGG16 = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
VGG13 = (0, 2, 5, 7, 10, 12, 15, 17, 20, 22)
needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="writes PyTorch checkpoints")


def make_arrays():
    """Weights that owe nothing to the code under test: NumPy's own numbers in shapes written out here."""
    rng, arrays, channels = np.random.default_rng(7), {}, 3
    for key in KEYS:
        width = NARROW[int(key[4]) - 1]
        arrays[f"{key}.weight"] = rng.normal(size=(width, channels, 3, 3)).astype(np.float32)
        arrays[f"{key}.bias"] = rng.normal(size=width).astype(np.float32)
        channels = width
    return arrays


@pytest.fixture(scope="module")
def arrays():
    return make_arrays()


def hwio(kernel):
    return np.moveaxis(kernel, (0, 1, 2, 3), (3, 2, 0, 1))


def as_features(arrays, indices=FEATURES):
    return {
        f"features.{index}.{part}": arrays[f"{key}.{part}"]
        for key, index in zip(KEYS, indices, strict=False)
        for part in ("weight", "bias")
    }


def write_keras_old(path, arrays):
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"input_1", *(vgg19.keras_name(key).encode() for key in KEYS), b"block5_pool"]
        file.create_group("input_1").attrs["weight_names"] = np.array([], dtype="S1")
        file.create_group("block5_pool").attrs["weight_names"] = np.array([], dtype="S1")
        for key in KEYS:
            name = f"block{key[4]}_conv{key[6]}"
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}_W_1:0".encode(), f"{name}_b_1:0".encode()]
            group[f"{name}_W_1:0"] = hwio(arrays[f"{key}.weight"])
            group[f"{name}_b_1:0"] = arrays[f"{key}.bias"]


def write_keras_new(path, arrays, root="/"):
    with h5py.File(path, "w") as file:
        for key in KEYS:
            name = f"block{key[4]}_conv{key[6]}"
            group = file.require_group(root).create_group(name)
            group.attrs["weight_names"] = [f"{name}/kernel:0".encode(), f"{name}/bias:0".encode()]
            group[f"{name}/kernel:0"] = hwio(arrays[f"{key}.weight"])
            group[f"{name}/bias:0"] = arrays[f"{key}.bias"]


def write_keras_whole_model(path, arrays):
    write_keras_new(path, arrays, "model_weights")


def write_keras_numbered(path, arrays):
    with h5py.File(path, "w") as file:
        for number, key in enumerate(KEYS):
            group = file.create_group("layers/" + (f"conv2d_{number}" if number else "conv2d")).create_group("vars")
            group["0"], group["1"] = hwio(arrays[f"{key}.weight"]), arrays[f"{key}.bias"]
            file.create_group(f"layers/max_pooling2d_{number}/vars")


def write_keras_archive(path, arrays):
    write_keras_numbered(path.with_suffix(".h5"), arrays)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.write(path.with_suffix(".h5"), "model.weights.h5")


def write_matconvnet(path, arrays, old=False, column=False):
    """Write what MatConvNet's utils/import-caffe.py writes: a cell array of structs, the first kernel turned to RGB."""
    layers = []
    for key in KEYS:
        kernel, bias = hwio(arrays[f"{key}.weight"]), arrays[f"{key}.bias"].reshape((-1, 1) if column else (1, -1))
        if key == "conv1_1":
            kernel = kernel[:, :, ::-1, :]
        if old:
            layers.append({"type": "conv", "name": key, "filters": kernel, "biases": bias, "pad": np.ones((1, 4))})
        else:
            cell = np.empty((1, 2), dtype=object)
            cell[0, 0], cell[0, 1] = kernel, bias
            layers.append({"name": key, "type": "conv", "weights": cell, "pad": np.ones((1, 4))})
        layers.append({"name": key.replace("conv", "relu"), "type": "relu"})
    layers.append({"name": "prob", "type": "softmax"})
    mean = np.array([123.68, 116.779, 103.939]).reshape(1, 1, 3)
    scipy.io.savemat(
        path,
        {
            "meta": {"normalization": {"averageImage": mean}},
            "layers": np.array(layers, dtype=object).reshape(1, -1),
        },
        oned_as="row",
    )


def write_matconvnet_old(path, arrays):
    write_matconvnet(path, arrays, old=True, column=True)


def write_npz(path, arrays):
    np.savez(path, **arrays)


def write_npz_imagenet(path, arrays):
    np.savez(path, preprocessing="imagenet", **arrays)


def write_npz_float64(path, arrays):
    np.savez(path, **{name: array.astype(np.float64) for name, array in arrays.items()})


def write_safetensors(path, arrays):
    safetensors.numpy.save_file(arrays, path)


def write_safetensors_caffe(path, arrays):
    safetensors.numpy.save_file(arrays, path, {"preprocessing": "caffe"})


def write_safetensors_features(path, arrays):
    safetensors.numpy.save_file({**as_features(arrays), "classifier.0.bias": np.ones(3, np.float32)}, path)


def write_npz_bare_features(path, arrays):
    np.savez(path, **{name.removeprefix("features."): array for name, array in as_features(arrays).items()})


def write_npz_parallel_features(path, arrays):
    np.savez(path, **{f"module.{name}": array for name, array in as_features(arrays).items()})


def write_npz_parallel(path, arrays):
    np.savez(path, **{f"module.{name}": array for name, array in arrays.items()})


FORMATS = [
    (write_keras_old, "k.h5", "caffe"),
    (write_keras_new, "k.h5", "caffe"),
    (write_keras_whole_model, "k.hdf5", "caffe"),
    (write_keras_numbered, "k.weights.h5", "caffe"),
    (write_keras_archive, "k.keras", "caffe"),
    (write_matconvnet, "imagenet-vgg-verydeep-19.mat", "caffe"),
    (write_matconvnet_old, "old.MAT", "caffe"),
    (write_npz, "w.npz", None),
    (write_npz_imagenet, "w.npz", "imagenet"),
    (write_npz_float64, "w.npz", None),
    (write_npz_bare_features, "w.npz", None),
    (write_npz_parallel_features, "w.npz", None),
    (write_npz_parallel, "w.npz", None),
    (write_safetensors, "w.safetensors", None),
    (write_safetensors_caffe, "w.safetensors", "caffe"),
    (write_safetensors_features, "w.safetensors", None),
]


def assert_same(received, expected):
    assert list(received) == list(expected)
    for name in expected:
        assert received[name].dtype == np.float32
        np.testing.assert_array_equal(received[name], expected[name], err_msg=name)


@pytest.mark.parametrize(("write", "name", "preprocessing"), FORMATS, ids=[case[0].__name__ for case in FORMATS])
def test_every_format_reads_back_exactly(write, name, preprocessing, arrays, tmp_path):
    write(tmp_path / name, arrays)
    loaded = weights.load(str(tmp_path / name))
    assert_same(loaded.arrays, arrays)
    assert loaded.preprocessing == preprocessing
    assert loaded.widths == NARROW
    assert loaded.name == str(tmp_path / name)
    assert loaded.sha256 == hashlib.sha256(b"".join(n.encode() + a.tobytes() for n, a in arrays.items())).hexdigest()


def test_the_matconvnet_file_of_these_tests_has_the_published_structure(arrays, tmp_path):
    """The expression with which years of style-transfer code on GitHub takes the published file apart."""
    write_matconvnet(tmp_path / "vgg.mat", arrays)
    cells = scipy.io.loadmat(tmp_path / "vgg.mat")["layers"]
    kernel, bias = cells[0][2][0][0]["weights"][0]
    assert cells[0][2][0][0]["name"][0] == "conv1_2"
    np.testing.assert_array_equal(kernel, hwio(arrays["conv1_2.weight"]))
    assert bias.shape == (1, 8)


def test_matconvnet_kernels_see_the_same_picture_in_bgr(arrays, tmp_path):
    write_matconvnet(tmp_path / "vgg.mat", arrays)
    stored = scipy.io.loadmat(tmp_path / "vgg.mat")["layers"][0][0][0][0]["weights"][0][0]
    rgb = np.random.default_rng(1).uniform(0, 255, (3, 3, 3))
    by_matconvnet = np.einsum("hwc,hwco->o", rgb - [123.68, 116.779, 103.939], stored)
    kernel = weights.load(str(tmp_path / "vgg.mat")).arrays["conv1_1.weight"]
    by_caffe = np.einsum("hwc,ochw->o", rgb[..., ::-1] - [103.939, 116.779, 123.68], kernel)
    np.testing.assert_allclose(by_caffe, by_matconvnet, rtol=1e-10)


def test_the_hash_is_of_the_weights_not_of_their_order(arrays, tmp_path):
    write_npz(tmp_path / "backwards.npz", dict(reversed(arrays.items())))
    changed = {**arrays, "conv5_4.bias": arrays["conv5_4.bias"] + np.float32(1e-3)}
    write_npz(tmp_path / "changed.npz", changed)
    sha256 = weight_files.sha256_of(arrays)
    assert weights.load(str(tmp_path / "backwards.npz")).sha256 == sha256
    assert weights.load(str(tmp_path / "changed.npz")).sha256 != sha256


def test_a_file_may_end_early(arrays, tmp_path):
    first = {name: array for name, array in arrays.items() if name < "conv3_2"}
    write_npz(tmp_path / "short.npz", first)
    loaded = weights.load(str(tmp_path / "short.npz"))
    assert_same(loaded.arrays, first)
    assert loaded.widths == NARROW[:3]


def without(arrays, name):
    return {key: array for key, array in arrays.items() if key != name}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda a: without(without(a, "conv3_3.weight"), "conv3_3.bias"), "conv3_3"),
        (lambda a: without(a, "conv4_2.bias"), "conv4_2.bias"),
        (lambda a: {**a, "conv2_2.weight": a["conv2_2.weight"][:, :-1]}, "conv2_2.weight"),
        (lambda a: {**a, "conv2_2.weight": np.float32(1)}, "w.npz"),
        (lambda a: {**a, "conv1_2.bias": np.full(8, np.nan, np.float32)}, "conv1_2.bias"),
        (lambda a: {**a, "conv1_2.bias": np.full(8, 1e300)}, "conv1_2.bias"),
        (lambda a: {**a, "conv1_2.bias": np.ones(8, np.int32)}, "conv1_2.bias"),
        (lambda a: {**a, "preprocessing": np.array("cafe")}, "cafe"),
        (lambda a: {"dense.weight": np.ones((2, 2))}, "dense.weight"),
        (lambda a: {}, "no convolution"),
        (lambda a: as_features(a, VGG16), "features.17"),
        (lambda a: as_features(a, VGG13), "features.15"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_what_is_not_a_vgg19_is_refused_by_name(change, named, arrays, tmp_path):
    np.savez(tmp_path / "w.npz", **change(arrays))
    with pytest.raises(NstError) as caught:
        weights.load(str(tmp_path / "w.npz"))
    assert named in str(caught.value)
    assert str(tmp_path / "w.npz") in str(caught.value)


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (write_keras_old, "k.h5"),
        (write_matconvnet, "m.mat"),
        (write_npz, "w.npz"),
        (write_safetensors, "w.safetensors"),
    ],
)
@pytest.mark.parametrize("damage", ["cut in half", "a few bytes missing", "garbage", "empty", "a web page"])
def test_a_damaged_file_is_named(write, name, damage, arrays, tmp_path):
    path = tmp_path / name
    write(path, arrays)
    whole = path.read_bytes()
    path.write_bytes(
        {
            "cut in half": whole[: len(whole) // 2],
            "a few bytes missing": whole[:-9],
            "garbage": np.random.default_rng(0).bytes(4000),
            "empty": b"",
            "a web page": b"<!DOCTYPE html><html><body>Please log in</body></html>" * 20,
        }[damage]
    )
    with pytest.raises(NstError, match=name):
        weights.load(str(path))


def test_a_reader_that_dies_takes_nobody_with_it(arrays, tmp_path, monkeypatch):
    """SciPy's does, now and then, on a .mat file with a few bytes changed."""
    write_matconvnet(tmp_path / "m.mat", arrays)
    monkeypatch.setattr(weight_files, "_MATCONVNET", "import os; os.abort()")
    with pytest.raises(NstError, match=r"m\.mat: cannot be read as a \.mat file of weights: the reader died"):
        weights.load(str(tmp_path / "m.mat"))


def test_a_file_of_another_format_under_a_known_extension(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    scipy.io.savemat(tmp_path / "m.mat", {"x": np.ones(3)})
    with h5py.File(tmp_path / "k.h5", "w") as file:
        file["dense_1/kernel:0"] = np.ones((2, 2))
    for name, said in (("w.npz", "readme.txt"), ("m.mat", "layers"), ("k.h5", "block1_conv1")):
        with pytest.raises(NstError, match=said):
            weights.load(str(tmp_path / name))


def test_what_cannot_be_found_names_what_would_be_accepted(tmp_path):
    with pytest.raises(
        NstError, match=r"'cafe'; accepted: caffe, torchvision, embedded, random, auto, the path of a file"
    ):
        weights.load("cafe")
    (tmp_path / "w.caffemodel").write_bytes(b"x")
    with pytest.raises(NstError, match=r"'\.caffemodel'; accepted: \.safetensors, \.h5"):
        weights.load(str(tmp_path / "w.caffemodel"))


# PyTorch checkpoints, written and read in processes of their own


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory, arrays):
    folder = tmp_path_factory.mktemp("checkpoints")
    np.savez(folder / "arrays.npz", **arrays)
    np.savez(folder / "features.npz", **as_features(arrays))
    script = """
import sys, numpy, torch
folder = sys.argv[1]
def tensors(name): return {key: torch.from_numpy(array) for key, array in numpy.load(f"{folder}/{name}.npz").items()}
torch.save(tensors("arrays"), f"{folder}/vgg_conv.pth")
features = {**tensors("features"), "classifier.0.weight": torch.ones(2, 2), "step": torch.tensor(3)}
torch.save(features, f"{folder}/legacy.pth", _use_new_zipfile_serialization=False)
"""
    subprocess.run([sys.executable, "-c", script, str(folder)], check=True)
    return folder


@needs_torch
def test_a_zip_checkpoint_with_conv_names(checkpoints, arrays):
    assert zipfile.is_zipfile(checkpoints / "vgg_conv.pth")
    loaded = weights.load(str(checkpoints / "vgg_conv.pth"))
    assert_same(loaded.arrays, arrays)
    assert loaded.preprocessing == "caffe"


@needs_torch
def test_a_checkpoint_of_parameters(arrays, tmp_path):
    path = tmp_path / "parameters.pth"
    script = (
        "import sys, torch; from safetensors.torch import load_file;"
        "torch.save({name: torch.nn.Parameter(value) for name, value in load_file(sys.argv[1]).items()}, sys.argv[2])"
    )
    weight_files.write(tmp_path / "a.safetensors", arrays, {})
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.safetensors"), str(path)], check=True)
    assert_same(weights.load(str(path)).arrays, arrays)


@needs_torch
def test_a_legacy_checkpoint_with_feature_names_does_not_say_its_preprocessing(checkpoints, arrays):
    assert not zipfile.is_zipfile(checkpoints / "legacy.pth")
    loaded = weights.load(str(checkpoints / "legacy.pth"))
    assert_same(loaded.arrays, arrays)
    assert loaded.preprocessing is None


@needs_torch
def test_a_truncated_checkpoint_is_named(checkpoints, tmp_path):
    (tmp_path / "cut.pth").write_bytes((checkpoints / "legacy.pth").read_bytes()[:20000])
    with pytest.raises(NstError, match=r"cut\.pth: cannot be read as a \.pth file of weights: .*damaged.*\(\w+Error\)"):
        weights.load(str(tmp_path / "cut.pth"))


@needs_torch
@pytest.mark.parametrize(
    ("saved", "said"),
    [
        ("torch.nn.Linear(2, 2)", r"more than tensors.* save the model's state_dict\(\) \(UnpicklingError\)$"),
        ("torch.ones(2)", r"it holds a Tensor; save the model's state_dict\(\)$"),
        ("[torch.ones(2)]", r"it holds a list; save the model's state_dict\(\)$"),
    ],
)
def test_a_checkpoint_that_is_no_state_dict_is_refused_with_the_way_on(saved, said, tmp_path):
    path = tmp_path / "w.pth"
    subprocess.run(
        [sys.executable, "-c", f"import sys, torch; torch.save({saved}, sys.argv[1])", str(path)], check=True
    )
    with pytest.raises(NstError, match=said):
        weights.load(str(path))


class Attack:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@needs_torch
def test_a_checkpoint_that_carries_code_is_refused_unrun(tmp_path):
    mark = tmp_path / "was here"
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Attack(mark), protocol=2))
    with pytest.raises(NstError, match=r"evil\.pt: cannot be read .*UnpicklingError"):
        weights.load(str(tmp_path / "evil.pt"))
    assert not mark.exists()


def test_an_archive_that_carries_code_is_refused_unrun(tmp_path):
    mark = tmp_path / "was here"
    np.savez(tmp_path / "evil.npz", **{"conv1_1.weight": np.array([Attack(mark)], object)})
    with pytest.raises(NstError, match=r"evil\.npz: cannot be read"):
        weights.load(str(tmp_path / "evil.npz"))
    assert not mark.exists()


def test_no_module_of_the_current_folder_poses_as_a_library(arrays, tmp_path, monkeypatch):
    write_matconvnet(tmp_path / "m.mat", arrays)
    for module in ("torch", "scipy", "safetensors", "numpy"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('shadowed')")
    monkeypatch.chdir(tmp_path)
    assert_same(weights.load("m.mat").arrays, arrays)


def test_a_set_that_was_exported_is_what_it_says(tmp_path):
    weights.export("embedded", tmp_path / "embedded.safetensors")
    weights.verify(str(tmp_path / "embedded.safetensors"))
    with safetensors.safe_open(tmp_path / "embedded.safetensors", "numpy") as file:
        assert {"licence", "attribution"} <= file.metadata().keys()


def test_a_name_that_no_file_can_have_is_refused_in_a_line(tmp_path, monkeypatch):
    name = "a" * 300
    with pytest.raises(NstError, match="there is no such file"):
        weights.convert(f"{name}.npz", tmp_path / "o.safetensors")
    monkeypatch.setenv("NST_CACHE_DIR", str(tmp_path / name))
    with pytest.raises(NstError, match="not in the cache yet"):
        weights.verify("caffe")


def test_a_preprocessing_that_is_asked_for_is_written(arrays, tmp_path):
    write_keras_new(tmp_path / "k.h5", arrays)
    weights.convert(tmp_path / "k.h5", tmp_path / "o.safetensors", preprocessing="imagenet")
    assert weights.load(str(tmp_path / "o.safetensors")).preprocessing == "imagenet"


@needs_torch
def test_a_checkpoint_of_a_training_run_in_bfloat16(arrays, tmp_path):
    path = tmp_path / "training.pt"
    script = (
        "import sys, torch; from safetensors.torch import load_file; loaded = load_file(sys.argv[1]);"
        "half = {name: value.bfloat16() for name, value in loaded.items()};"
        "torch.save({'state_dict': half, 'epoch': 3}, sys.argv[2])"
    )
    weight_files.write(tmp_path / "a.safetensors", arrays, {})
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.safetensors"), str(path)], check=True)
    for name, array in weights.load(str(path)).arrays.items():
        np.testing.assert_allclose(array, arrays[name], rtol=2**-8, err_msg=name)


def test_without_torch_a_checkpoint_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(weights, "download", lambda *_: pytest.fail("fetched what cannot be read"))
    monkeypatch.setenv("NST_CACHE_DIR", str(tmp_path))
    (tmp_path / "mine.pth").write_bytes(b"x")
    for name, file in ((str(tmp_path / "mine.pth"), "mine.pth"), ("torchvision", "vgg19-dcbb9e9d.pth")):
        with pytest.raises(NstError) as caught:
            weights.load(name)
        for said in (file, 'pip install ".[torch]"', "nst weights convert"):
            assert said in str(caught.value)


def test_no_framework_is_imported():
    script = (
        "import sys, nst_spec.weights as w; w.random_weights((1,) * 5); print({'torch', 'tensorflow'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# random


def test_random_weights_are_what_the_docstring_says():
    received = weights.random_weights(NARROW, seed=5)
    assert list(received.arrays) == [f"{key}.{part}" for key in KEYS for part in ("weight", "bias")]
    for index, seed in enumerate(islice(splitmix64(5), 32)):
        array = list(received.arrays.values())[index]
        fan_in = math.prod(array.shape[1:])
        bound = math.sqrt(6 / fan_in) if array.ndim == 4 else 0.1
        expected = [np.float32((2 * ((z >> 11) / 2**53) - 1) * bound) for z in islice(splitmix64(seed), 8)]
        np.testing.assert_array_equal(array.ravel()[:8], expected)


def test_a_file_s_name_may_be_as_long_as_names_can_be(tmp_path):
    target = tmp_path / ("n" * 243 + ".safetensors")
    weights.export("embedded", target)
    assert weights.load(str(target)).sha256 == weights.load("embedded").sha256


@pytest.mark.parametrize("name", ["embedded", "random"])
def test_a_set_is_known_whatever_file_it_came_from(name, tmp_path):
    weights.export(name, tmp_path / "mine.safetensors")
    exported = weights.load(str(tmp_path / "mine.safetensors"))
    assert exported.name == str(tmp_path / "mine.safetensors")
    assert weights.known_as(exported) == name
    other = weights.random_weights(NARROW)
    assert weights.known_as(dataclasses.replace(other, name="mine")) == "mine"


def test_full_width_random_weights_are_pinned():
    received = weights.load("random")
    assert received.sha256 == "ea877b925b7f145db6b718680e27a76cb864a1424fb76eb310195a4c390f6601"
    assert received.widths == (64, 128, 256, 512, 512)
    assert (received.name, received.preprocessing) == ("random", None)
    assert all(np.any(array) for array in received.arrays.values())
    assert sum(array.size for array in received.arrays.values()) == 20_024_384  # Keras: VGG19(include_top=False)
    kernel = received.arrays["conv5_4.weight"].astype(np.float64)
    assert kernel.var() == pytest.approx(2 / (512 * 9), rel=2e-3)  # He et al.: variance 2 / fan_in
    bias = np.concatenate([array for array in received.arrays.values() if array.ndim == 1])
    assert 0.0999 < np.abs(bias).max() <= 0.1
    assert weights.random_weights(seed=1).sha256 != received.sha256


@pytest.mark.parametrize("folder", ["a" * 300, "~nobody_of_this_name/cache"])
def test_a_cache_that_cannot_be_looked_into_has_nothing(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("NST_CACHE_DIR", folder if folder.startswith("~") else str(tmp_path / folder))
    assert weights.path("caffe") is None
    assert weights.load("auto", offline=True, warn=lambda text: None).name == "embedded"


# preprocessing


def weight_set(name, preprocessing):
    return weights.WeightSet(name, {}, preprocessing, "")


@pytest.mark.parametrize(
    ("stated", "named", "used", "expected"),
    [
        ("unit", "torchvision", weight_set("torchvision", "imagenet"), "unit"),
        ("unit", "random", weight_set("random", None), "unit"),
        (None, "torchvision", weight_set("caffe", "caffe"), "caffe"),
        (None, "caffe", weight_set("torchvision", "imagenet"), "imagenet"),
        (None, "torchvision", weight_set("random", None), "imagenet"),
        (None, "caffe", weight_set("mine.npz", None), "caffe"),
        (None, "auto", weight_set("random", None), "caffe"),
    ],
)
def test_which_preprocessing_feeds_the_network(stated, named, used, expected):
    assert weights.preprocessing_for(stated, named, used) == expected


@pytest.mark.parametrize("named", ["random", "mine.npz"])
def test_a_preprocessing_that_nobody_states_is_an_error(named):
    with pytest.raises(NstError, match="unit, imagenet, caffe"):
        weights.preprocessing_for(None, named, weight_set("random", None))
    with pytest.raises(NstError, match="imagenette"):
        weights.preprocessing_for("imagenette", named, weight_set("random", None))


def test_a_sets_own_file_is_known_by_name_and_by_hash(arrays, tmp_path, monkeypatch):
    write_safetensors_features(tmp_path / "renamed.safetensors", arrays)
    sha256 = hashlib.sha256((tmp_path / "renamed.safetensors").read_bytes()).hexdigest()
    tv = weights.SetInfo("tv", "", 1, "", "", "imagenet", "http://x", "tv.safetensors", f"sha256-prefix:{sha256[:8]}")
    monkeypatch.setattr(weights, "SETS", {"tv": tv})
    assert weights.load(str(tmp_path / "renamed.safetensors")).preprocessing == "imagenet"
    write_safetensors(tmp_path / "tv.safetensors", arrays)
    assert weights.load(str(tmp_path / "tv.safetensors")).preprocessing == "imagenet"
    write_safetensors(tmp_path / "another.safetensors", arrays)
    assert weights.load(str(tmp_path / "another.safetensors")).preprocessing is None


# convert and export


def header_of(path):
    """The header as the format's specification has it: eight bytes of length, then JSON."""
    data = path.read_bytes()
    return json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])


def test_convert_keeps_the_weights_and_their_preprocessing(arrays, tmp_path):
    write_keras_old(tmp_path / "k.h5", arrays)
    written = weights.convert(tmp_path / "k.h5", tmp_path / "out.safetensors")
    header = header_of(tmp_path / "out.safetensors")
    assert header["__metadata__"] == {"preprocessing": "caffe", "sha256": weight_files.sha256_of(arrays)}
    assert header["conv1_1.weight"]["shape"] == [8, 3, 3, 3]
    assert header["conv5_4.bias"]["dtype"] == "F32"
    loaded = weights.load(str(tmp_path / "out.safetensors"))
    assert_same(loaded.arrays, arrays)
    assert (loaded.preprocessing, loaded.sha256) == ("caffe", written.sha256)


def test_convert_takes_a_preprocessing(arrays, tmp_path):
    write_npz(tmp_path / "w.npz", arrays)
    weights.convert(tmp_path / "w.npz", tmp_path / "silent.safetensors")
    assert "preprocessing" not in header_of(tmp_path / "silent.safetensors")["__metadata__"]
    weights.convert(tmp_path / "w.npz", tmp_path / "said.safetensors", preprocessing="imagenet")
    assert weights.load(str(tmp_path / "said.safetensors")).preprocessing == "imagenet"
    with pytest.raises(NstError, match="accepted: unit, imagenet, caffe"):
        weights.convert(tmp_path / "w.npz", tmp_path / "wrong.safetensors", preprocessing="bgr")
    assert not (tmp_path / "wrong.safetensors").exists()


@pytest.mark.parametrize("target", ["out.npz", "missing/out.safetensors"])
def test_a_target_that_cannot_be_written_is_named(target, arrays, tmp_path):
    write_npz(tmp_path / "w.npz", arrays)
    with pytest.raises(NstError, match=Path(target).name):
        weights.convert(tmp_path / "w.npz", tmp_path / target)
    assert [path.name for path in tmp_path.iterdir()] == ["w.npz"]


def test_export_random_names_no_preprocessing(tmp_path):
    written = weights.export("random", tmp_path / "r.safetensors")
    header = header_of(tmp_path / "r.safetensors")
    assert "preprocessing" not in header["__metadata__"]
    assert header["__metadata__"]["sha256"] == written.sha256
    del header["__metadata__"]
    assert set(header) == {f"{key}.{part}" for key in KEYS for part in ("weight", "bias")}
    assert weights.load(str(tmp_path / "r.safetensors")).sha256 == written.sha256
    assert weights.verify("random") == written.sha256
    with pytest.raises(NstError, match="accepted: caffe, torchvision, embedded, random"):
        weights.export("auto", tmp_path / "a.safetensors")


def test_a_header_that_gives_another_hash_is_damage(arrays, tmp_path):
    write_npz(tmp_path / "w.npz", arrays)
    path = tmp_path / "w.safetensors"
    weights.convert(tmp_path / "w.npz", path)
    assert weights.verify(str(path)) == hashlib.sha256(path.read_bytes()).hexdigest()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    for use in (weights.load, weights.verify):
        with pytest.raises(NstError, match="damaged"):
            use(str(path))


# weights.toml


def test_the_sets_are_the_published_ones():
    assert list(weights.SETS) == ["caffe", "torchvision", "embedded", "random"]
    caffe, torchvision, embedded, random = weights.SETS.values()
    assert caffe.url == (
        "https://storage.googleapis.com/tensorflow/keras-applications/vgg19/"
        "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
    )
    assert (caffe.hash, caffe.preprocessing) == ("md5:253f8cb515780f3b799900260a226db6", "caffe")
    assert torchvision.url == "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
    assert (torchvision.hash, torchvision.preprocessing) == ("sha256-prefix:dcbb9e9d", "imagenet")
    assert (random.url, random.file, random.hash, random.preprocessing, random.size) == ("", "", "", None, 0)
    assert (embedded.url, embedded.licence, embedded.preprocessing) == ("", "MIT", "imagenet")
    for info in (caffe, torchvision):
        assert info.url.endswith("/" + info.file)
        assert info.licence in ("CC BY 4.0", "BSD-3-Clause")
        assert "Simonyan" in info.attribution
    # float32 and a few per cent of HDF5; 143,667,240 parameters in all of VGG19 and a pickle's few bytes
    assert 0 < caffe.size - 4 * 20_024_384 < 100_000
    assert 0 < torchvision.size - 4 * 143_667_240 < 10_000


# The set that comes with the package


def test_the_embedded_set_comes_with_the_package():
    loaded = weights.load("embedded", offline=True)
    assert (loaded.name, loaded.preprocessing) == ("embedded", "imagenet")
    assert list(loaded.arrays)[-2:] == ["conv5_1.weight", "conv5_1.bias"]
    file = weights.path("embedded")
    assert file.stat().st_size == weights.SETS["embedded"].size < 6_000_000
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert weights.SETS["embedded"].hash == f"sha256:{digest}"
    assert weights.verify("embedded") == digest
    with safetensors.safe_open(file, "numpy") as opened:
        record = json.loads(opened.metadata()["training"])
        assert {opened.get_tensor(name).dtype for name in opened.keys()} == {np.dtype(np.float16)}  # noqa: SIM118
    assert {"commit", "settings", "report", "command"} <= set(record)
    assert len(record["commit"]) == 40
    assert record["settings"]["seed"] == 0


def test_what_stands_for_one_of_two_sets_has_no_file_to_verify():
    with pytest.raises(
        NstError, match=r"^weights to verify: received 'auto'; accepted: caffe, .*, the path of a file$"
    ):
        weights.verify("auto")


def test_the_embedded_set_is_no_download():
    with pytest.raises(NstError, match=r"accepted: caffe, torchvision$"):
        weights.fetch("embedded")


def test_a_damaged_package_is_noticed(tmp_path, monkeypatch):
    damaged = tmp_path / "embedded.safetensors"
    damaged.write_bytes(weights.path("embedded").read_bytes()[:-100])
    monkeypatch.setattr(weights, "CARRIED", tmp_path)
    with pytest.raises(NstError, match="publisher's hash"):
        weights.verify("embedded")
    with pytest.raises(NstError, match=r"embedded\.safetensors"):
        weights.load("embedded")
