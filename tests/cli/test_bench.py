"""`nst bench` as it is typed."""

import sys

import pytest

from compare import bench_result
from nst.cli_options import participants
from nst_spec import backend as backends

TINY = ["--sizes", 32, "--runs", 2]


def test_a_backend_is_measured_and_held_to_its_earlier_self(nst, narrow_file, framework, tmp_path):
    options = ["bench", *TINY, "--weights", narrow_file, "--backends", framework, "--threads", 1]
    code, out, err = nst(*options, "--precisions", "fp32,tf32", "--device", "cpu", "--json")
    assert code == 0, err
    assert f"nst: {framework} fp32 32 px (1 of 2)" in err
    earlier = tmp_path / "earlier.json"
    earlier.write_text(out)
    found = bench_result.read(earlier)
    (row,) = found.rows
    assert row.case == f"{framework} fp32 32 px on cpu, 1 threads"
    assert row.memory.of == "process"
    assert row.memory.peak >= row.memory.at_rest > 0
    assert found.settings.weights.name == "narrow.safetensors"
    assert str(narrow_file.parent) not in out
    # A case that this machine cannot compute is no reason to lose the others.
    (note,) = found.notes
    assert note.startswith(f"tf32 32 px is not measured: {framework}: precision tf32: expected device cuda")

    code, out, err = nst(*options, "--precisions", "fp32", "--profile", "--against", earlier, "--quiet")
    assert (code, err) == (0, "")
    for words in ("of bare", "Gram matrices and losses", "optimiser", "Over earlier.json", row.case):
        assert words in out
    assert "over untiled" not in out


def test_tiles_are_shown_beside_the_whole_image(nst, narrow_file, backend_name):
    options = ["--weights", narrow_file, "--backends", backend_name, "--sizes", 96, "--runs", 1, "--tile", 32]
    code, out, err = nst("bench", *options, "--quiet")
    assert (code, err) == (0, "")
    assert "over untiled" in out
    assert "of bare" not in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--backends", "torch,jax"], "--backends: received 'jax'; accepted: torch, tf"),
        (["--backends", "reference"], "--backends: received 'reference'; accepted: torch, tf"),
        (["--precisions", "fp32,fp8"], "--precisions: received 'fp8'; accepted: fp32, tf32, bf16"),
        (["--sizes", "64,wide"], "--sizes: expected whole numbers of pixels, received 64,wide"),
        (["--sizes", "64,64"], "--sizes: expected each once, received 64,64"),
        (["--sizes", "8"], "--sizes: 8 x 8 px is too small: it takes at least 16 px a side for relu5_1"),
        (["--recipe", "none"], "recipe: received 'none'"),
        (["--weights", "none"], "weights: received 'none'"),
        (["--against", "none.json"], "none.json: expected a result as nst bench --json prints it"),
        (["--tile", "20"], "tile: received 20; accepted: auto, off, or a multiple of 16 px"),
        (["--tile", "32", "--profile"], "expected no --tile beside --profile"),
        (["--backends", "tf", "--tf-python", "no-python"], "--tf-python: expected an interpreter, received no-python"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_two(options, message, nst, narrow_file):
    code, out, err = nst("bench", "--weights", narrow_file, *TINY, *options)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]


def test_without_a_framework_it_says_what_to_install(nst, monkeypatch):
    monkeypatch.setattr(backends, "installed", lambda: ("reference",))
    code, out, err = nst("bench", "--sizes", 64)
    assert (code, out) == (2, "")
    assert 'torch is not installed here and is left out: pip install ".[torch]"' in err


def test_a_framework_of_another_interpreter_takes_part(monkeypatch):
    monkeypatch.setattr(backends, "installed", lambda: ("torch", "reference"))
    assert participants(None, {"torch": None, "tf": sys.executable}, ("reference", "tf", "torch")) == (
        ["torch", "tf"],
        [],
    )


def test_an_earlier_result_of_other_weights_is_refused_before_any_work(nst, narrow_file, tmp_path):
    from compare import machine
    from nst_spec import recipe

    earlier = bench_result.Result(
        nst="0",
        command="nst bench",
        machine=machine.describe(),
        settings={
            "recipe": recipe.as_record(recipe.load("default")),
            "weights": {"name": "narrow.safetensors", "sha256": "another", "preprocessing": "caffe"},
        },
        rows=[],
    )
    path = tmp_path / "earlier.json"
    path.write_text(earlier.model_dump_json())
    code, out, err = nst("bench", "--weights", narrow_file, *TINY, "--against", path)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert "it differs in: weights (" in line
