import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from compare import trace as traces
from nst_spec.errors import NstError
from nst_spec.losses import Shape


def test_what_is_written_is_what_is_read(trace, tmp_path):
    traces.write(tmp_path / "a.safetensors", trace)
    again = traces.read(tmp_path / "a.safetensors")
    assert again.header == trace.header
    assert set(again.arrays) == set(trace.arrays)
    for name, array in trace.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], array, err_msg=name)
        assert again.arrays[name].shape == array.shape, name
        assert again.arrays[name].dtype == array.dtype, name


def test_a_setting_that_is_younger_than_the_file_has_its_default(trace, tmp_path):
    header = trace.header.model_dump(mode="json")
    assert header["recipe"]["size"].pop("margin") == 0
    save_file(dict(trace.arrays), tmp_path / "a.safetensors", metadata={traces.METADATA_KEY: json.dumps(header)})
    assert traces.read(tmp_path / "a.safetensors").header == trace.header


def test_a_tap_s_shape_is_its_layer_s_and_the_image_s(trace, traced):
    # Behind two poolings of 26 x 32 px.
    assert trace.tap_shape("relu3_1") == Shape(32, 6 * 8, 26 * 32)
    assert traced(runs=False, **{"size.margin": 16}).tap_shape("relu3_1") == Shape(32, 14 * 16, 58 * 64)


def test_a_run_that_never_began_is_whole_without_a_picture(trace, tmp_path):
    arrays = {name: array for name, array in trace.arrays.items() if name != "run/result"}
    traces.write(tmp_path / "a.safetensors", traces.Trace(trace.header, arrays | {"run/loss": np.zeros(0)}))
    assert traces.read(tmp_path / "a.safetensors").arrays["run/loss"].shape == (0,)


def test_any_program_can_read_it(trace, tmp_path):
    traces.write(tmp_path / "a.safetensors", trace)
    arrays = load_file(tmp_path / "a.safetensors")
    assert arrays["gram/relu1_1"].shape == (8, 8)
    assert arrays["gradient"].shape == (26, 32, 3)


def test_a_large_layer_is_sampled_everywhere_and_a_small_one_kept_whole():
    assert traces.positions(100).tolist() == list(range(100))
    kept = traces.positions(10 * traces.SAMPLES)
    assert len(kept) == traces.SAMPLES
    assert all(kept // 10 == np.arange(traces.SAMPLES))
    assert len(set(kept % 10)) == 10
    array = np.arange(30.0 * traces.SAMPLES).reshape(2, -1, 3)
    np.testing.assert_array_equal(traces.sample(array), array.ravel()[traces.positions(array.size)])


def damaged(path, kind):
    if kind == "text":
        path.write_text("this is no trace")
    elif kind == "no header":
        save_file({"a": np.zeros(3)}, path)
    elif kind == "other format":
        save_file({"a": np.zeros(3)}, path, metadata={traces.METADATA_KEY: json.dumps({"format": 99})})
    elif kind == "header":
        save_file({"a": np.zeros(3)}, path, metadata={traces.METADATA_KEY: json.dumps({"format": 1})})
    elif kind == "no JSON":
        save_file({"a": np.zeros(3)}, path, metadata={traces.METADATA_KEY: "{"})


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("none", "no such file"),
        ("text", "expected a trace"),
        ("no header", "without a header"),
        ("other format", "written by another version of nst"),
        ("header", "header is damaged: environment"),
        ("no JSON", "header is damaged: invalid json"),
    ],
)
def test_what_is_no_trace_is_named(kind, message, tmp_path):
    path = tmp_path / "a.safetensors"
    damaged(path, kind)
    with pytest.raises(NstError, match=message):
        traces.read(path)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("gram/relu5_1", None, "gram/relu5_1: expected an array .*, received nothing"),
        ("target/relu1_1", None, "target/relu1_1: .* received nothing"),
        ("facts/slope/conv3_1", None, "facts/slope/conv3_1: .* received nothing"),
        ("choices/relu2_2", None, r"choices/relu2_2: expected an array \(416,\), received nothing"),
        ("term/tv", None, "term/tv: .* received nothing"),
        (
            "output/relu1_1",
            np.zeros(7),
            r"output/relu1_1: .* \(26, 32, 8\) or \(6656,\), received \(7,\)",
        ),
        ("gradient", np.zeros((26, 32)), r"gradient: expected an array \(26, 32, 3\), received \(26, 32\)"),
        ("run/image/x", np.zeros(3), "run/image/x: expected an array of a run"),
        ("run/image/1", np.zeros(2), r"run/image/1: expected an image, received \(2,\)"),
        ("run/image/0", None, "run/image/0: expected an image, received nothing"),
        ("run/result", None, "run/result: expected an image, received nothing"),
        ("run/loss", np.zeros(()), r"run/loss: expected an array \(steps,\), received nothing"),
        ("nudged/x/loss", np.zeros(3), "nudged/x/loss: expected an array of a run"),
        ("nudged/1/loss", None, "nudged/1/loss: .* received nothing"),
        ("input/style", None, "input/style: .* received nothing"),
        ("image", np.zeros((26, 32, 3)), r"image: expected pixels with the hash \w{12}, received others"),
        ("run/image/0", np.zeros((26, 32, 3)), r"run/image/0: expected pixels with the hash \w{12}"),
    ],
)
def test_a_trace_that_is_not_whole_is_named(name, array, message, trace, tmp_path):
    arrays = {key: value for key, value in trace.arrays.items() if key != name}
    arrays |= {} if array is None else {name: array}
    traces.write(tmp_path / "a.safetensors", traces.Trace(trace.header, arrays))
    with pytest.raises(NstError, match=f"the trace is damaged: {message}"):
        traces.read(tmp_path / "a.safetensors")


def test_a_header_without_a_layer_is_damaged(trace, tmp_path):
    header = trace.header.model_dump(mode="json")
    del header["shapes"]["relu3_1"]
    save_file(dict(trace.arrays), tmp_path / "a.safetensors", metadata={traces.METADATA_KEY: json.dumps(header)})
    with pytest.raises(NstError, match=r"header is damaged: .*the shapes of relu3_1 are missing"):
        traces.read(tmp_path / "a.safetensors")


def test_a_folder_that_is_not_there_cannot_be_written_to(trace, tmp_path):
    with pytest.raises(NstError, match="cannot be written"):
        traces.write(tmp_path / "none" / "a.safetensors", trace)
