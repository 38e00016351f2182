"""`nst trace`, `nst diff` and `nst compare` as they are typed; a planted fault sits in an interpreter of its own."""

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from compare import launch
from compare.result import Result
from nst.cli_compare import DEFAULTS
from nst_spec import backend as backends
from tests.conftest import takes_both

ORACLE = ["--backend", "reference"]
TINY = ["--size", 32, "--steps", 6, "--dtype", "float64"]


@pytest.fixture
def trace(nst, photo, painting, narrow_file):
    """Record a trace: trace('a.safetensors', '--backend', 'tf')."""

    def record(output, *options, weights=narrow_file):
        return nst("trace", photo, painting, "-o", output, "--weights", weights, *TINY, *options)

    return record


def test_a_backend_is_held_to_the_oracle_through_files(nst, trace, backend_name):
    assert trace("ours.safetensors", "--backend", backend_name)[0] == 0
    assert trace("oracle.safetensors", "--backend", "reference")[0] == 0
    code, out, err = nst("diff", "ours.safetensors", "oracle.safetensors")
    assert (code, err) == (0, "")
    assert f"{backend_name} float64 on cpu against reference float64 on cpu" in out
    assert "all agree" in out
    for tap in ("relu1_1", "relu4_2", "relu5_1"):
        assert tap in out
    assert "conv1_1" not in out
    assert "conv1_1" in nst("diff", "ours.safetensors", "oracle.safetensors", "--layers")[1]


def test_the_json_is_the_documented_result(nst, trace):
    for name in ("a", "b"):
        trace(f"{name}.safetensors", "--backend", "reference", "--no-run")
    code, out, _ = nst("diff", "a.safetensors", "b.safetensors", "--json")
    result = Result.model_validate_json(out)
    assert code == 0
    assert result.ok
    assert result.comparisons[0].trajectory is None
    assert json.loads(out)["schema_version"] == 1


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--beta", 11], "recipe beta (100.0 against 11.0)"),
        (["--size", 33], "content size"),
        (["--preprocessing", "imagenet"], "preprocessing (caffe against imagenet)"),
        (["--recipe", "tf-tutorial"], "recipe optimizer.kind (lbfgs against adam)"),
        (["--dtype", "float32"], "dtype"),
    ],
)
def test_traces_of_different_computations_are_refused_before_any_number(options, named, nst, trace):
    trace("a.safetensors", "--backend", "reference")
    trace("b.safetensors", "--backend", "reference", *options)
    code, out, err = nst("diff", "a.safetensors", "b.safetensors")
    assert (code, out) == (2, "")
    assert "not of one computation" in err
    assert named in err


def test_a_run_alone_that_is_out_asks_for_a_second_look(nst, trace):
    from compare import trace as traces

    trace("a.safetensors", "--backend", "reference")
    found = traces.read(Path("a.safetensors"))
    moved = {name: found.arrays[name] * 1.001 for name in ("run/image/6", "nudged/1/image/6")}
    traces.write(Path("b.safetensors"), traces.Trace(found.header, {**found.arrays, **moved}))
    code, out, _ = nst("diff", "a.safetensors", "b.safetensors")
    assert code == 1
    assert "first difference: image after step 6" in out
    assert "record both sides with --closer to tell" in out


def test_other_weights_on_one_side_are_refused(nst, trace, narrow_weights, tmp_path):
    from nst_spec import weight_files

    other = tmp_path / "other.safetensors"
    weight_files.write(other, {name: array * 2 for name, array in narrow_weights.arrays.items()}, {})
    trace("a.safetensors", "--backend", "reference")
    trace("b.safetensors", "--backend", "reference", weights=other)
    code, _, err = nst("diff", "a.safetensors", "b.safetensors")
    assert code == 2
    assert "weights (" in err


def test_a_folder_of_every_recipe(nst, photo, painting, narrow_file):
    options = ["--weights", narrow_file, "--size", 32, "--no-run", "--all-recipes", "--backend", "reference"]
    for folder in ("a", "b"):
        code, _, err = nst("trace", photo, painting, "-o", folder, *options)
        assert code == 0, err
    assert "reference: default (1 of 16)" in err
    code, out, _ = nst("diff", "a", "b")
    assert code == 0
    assert out.count("reference float64 on cpu against reference float64 on cpu: agree") == 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["diff", "none.safetensors", "none.safetensors"], "no such file"),
        (["diff", ".", "."], "a folder without any"),
        (["trace", "PHOTO", "PAINTING", "-o", "out.png"], "ends in .safetensors"),
        (["trace", "PHOTO", "PAINTING", "-o", "no/out.safetensors"], "the folder no does not exist"),
        (["compare", "PHOTO", "PAINTING", "--report", "PHOTO"], "expected a folder, received a file"),
        (["diff", "none.safetensors", "none.safetensors", "--report", "WEIGHTS"], "expected a folder, received a file"),
        (["trace", "PHOTO", "PAINTING", "-o", "out", "--all-recipes", "--recipe", "default"], "received both"),
        (["compare", "PHOTO", "PAINTING", "--backends", "torch,jax"], "accepted: reference, tf, torch"),
        (["compare", "PHOTO", "PAINTING", "--backends", "tf,tf"], "expected each backend once, received tf,tf"),
        (["compare", "PHOTO", "PAINTING", "--backends", "reference", *TINY], "expected two backends to compare"),
        (
            ["compare", "PHOTO", "PAINTING", "--backends", "torch", "--torch-python", "no-python"],
            "--torch-python: expected an interpreter, received no-python",
        ),
        (["compare", "none.jpg", "PAINTING", "--backends", "torch,reference"], "torch: none.jpg"),
        (["compare", "PHOTO", "PAINTING", "--against", "."], "--against .: expected a trace"),
        (["compare", "PHOTO", "PAINTING", "--all-recipes", "--against", "PHOTO"], "expected a folder of traces"),
        (["trace", "PHOTO", "PAINTING", "-o", "WEIGHTS", "--force", *ORACLE], "is one of this command's own inputs"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_two(arguments, message, nst, photo, painting, narrow_file):
    names = {"PHOTO": photo, "PAINTING": painting, "WEIGHTS": narrow_file}
    given = [names.get(argument, argument) for argument in arguments]
    code, out, err = nst(*given, *(["--weights", narrow_file] if given[0] != "diff" else []))
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]


def interpreter(path, code):
    """An executable that runs `nst` as `python -P -m nst` does, after some code."""
    script = path.with_suffix(".py")
    script.write_text(f"import sys\n{code}\nfrom nst.cli import main\nsys.exit(main(sys.argv[4:]))\n")
    path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(script))} "$@"\n')
    path.chmod(0o755)
    return path


FAULT = """
import nst_{0}.losses as losses
right = losses.gram
losses.gram = lambda features, divisor: right(features, divisor / 2)
"""


def test_compare_runs_every_side_in_a_process_of_its_own(nst, photo, painting, narrow_file, backend_name):
    options = ["--weights", narrow_file, *TINY, "--backends", f"{backend_name},reference", "--json"]
    code, out, err = nst("compare", photo, painting, *options)
    assert code == 0, err
    result = Result.model_validate_json(out)
    (comparison,) = result.comparisons
    ours, oracle = comparison.sides
    assert [ours.backend, oracle.backend] == [backend_name, "reference"]
    assert (ours.fast, ours.tile, ours.switches["deterministic"]) == (False, None, True)
    assert comparison.trajectory.ratio.ok
    assert result.commands[0].startswith("nst trace ")
    assert f"--backend {backend_name}" in result.commands[0]


def test_what_pictures_are_painted_by_is_held_to_the_oracle_when_asked(nst, photo, painting, narrow_file, backend_name):
    options = ["--weights", narrow_file, "--size", 32, "--steps", 6, "--fast", "--tile", 16, "--json"]
    code, out, err = nst("compare", photo, painting, *options, "--backends", f"{backend_name},reference")
    assert code == 0, err
    (found,) = Result.model_validate_json(out).comparisons
    ours, oracle = found.sides
    assert ours.title == f"{backend_name} fast float32 on cpu in tiles of 16 px"
    assert (ours.fast, ours.tile, oracle.fast, oracle.tile) == (True, 16, False, None)
    assert ours.switches["deterministic"] is False
    assert (found.profile, found.why_not_judged) == ("fast", "its arithmetic rounds by more than a nudge")


def test_a_file_in_the_folder_is_not_taken_for_ours_nor_for_an_option(nst, photo, painting, narrow_file, framework):
    Path("compare.py").write_text("raise SystemExit('the wrong module')")
    Path("-photo.png").write_bytes(photo.read_bytes())
    options = ["--weights", narrow_file, *TINY, "--no-run", "--backends", f"{framework},reference"]
    code, out, err = nst("compare", *options, "--", "-photo.png", painting)
    assert code == 0, err
    assert "-photo.png" in out


def test_nor_by_an_interpreter_that_looks_there_first(nst):
    Path("compare.py").write_text("raise SystemExit('the wrong module')")
    command = [sys.executable, "-m", "nst", "diff", "none.safetensors", "none.safetensors"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("nst: none.safetensors: ")


@pytest.mark.skipif(os.name != "posix", reason="takes a shell")
@pytest.mark.parametrize("options", ["", "--json"])
@pytest.mark.parametrize(("factor", "code"), [(1.0, 0), (2.0, 1)])
def test_a_reader_that_has_gone_changes_no_verdict(options, factor, code, nst, trace):
    from compare import trace as traces

    trace("a.safetensors", "--backend", "reference", "--no-run")
    found = traces.read(Path("a.safetensors"))
    changed = {"gradient": found.arrays["gradient"] * factor}
    traces.write(Path("b.safetensors"), traces.Trace(found.header, {**found.arrays, **changed}))
    command = f"{shlex.quote(sys.executable)} -m nst diff a.safetensors b.safetensors {options} | true"
    assert subprocess.run(["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"]).returncode == code


def test_a_layer_that_is_out_is_shown_though_it_is_no_tap(nst, trace):
    from compare import trace as traces

    trace("a.safetensors", *ORACLE, "--no-run")
    found = traces.read(Path("a.safetensors"))
    name = "output/conv3_2"
    traces.write(Path("b.safetensors"), traces.Trace(found.header, {**found.arrays, name: 2 * found.arrays[name]}))
    code, out, _ = nst("diff", "b.safetensors", "a.safetensors")
    assert code == 1
    shown = [line.split()[0] for line in out.splitlines() if "OUT" in line]
    assert shown == ["conv3_2"]
    assert "conv3_3 " not in out


def test_a_gradient_that_is_too_long_is_shown_by_layer_and_by_image(nst, trace):
    from compare import trace as traces

    options = [*ORACLE, "--no-run", "--dtype", "float32"]
    trace("a.safetensors", *options)
    found = traces.read(Path("a.safetensors"))
    coarse = found.header.environment.model_copy(update={"precision": "bf16"})
    header = found.header.model_copy(update={"environment": coarse})
    longer = {name: 1.3 * found.arrays[name] for name in ("slope/conv3_2", "gradient")}
    traces.write(Path("b.safetensors"), traces.Trace(header, {**found.arrays, **longer}))
    code, out, _ = nst("diff", "b.safetensors", "a.safetensors")
    assert code == 1
    shown = [" ".join(line.split()) for line in out.splitlines() if "OUT" in line]
    assert shown == [
        "conv3_2 0 3.0e-01 5e-01 3.0e-01 OUT",
        "length of the gradient by the image: 3.0e-01, limit 2e-01 OUT",
    ]
    assert "first difference: length of the gradient by conv3_2: 3.0e-01, limit 2e-01" in out


def test_a_second_look_is_told_of(trace):
    assert "reference: default (1 of 1), a second look" in trace("a.safetensors", *ORACLE, "--no-run", "--closer")[2]


def test_a_trace_has_the_images_and_maps_that_are_asked_for(nst, trace):
    from compare import trace as traces

    assert trace("a.safetensors", *ORACLE, "--every", "4", "--whole")[0] == 0
    found = traces.read(Path("a.safetensors"))
    assert set(found.under("run/image")) == {"0", "1", "4", "6"}
    assert found.arrays["output/relu1_1"].shape == found.header.shapes["relu1_1"]


@pytest.mark.parametrize("command", ["trace", "compare"])
def test_help_says_what_size_and_steps_are_taken(command, nst):
    size, steps = (DEFAULTS[key] for key in ("size.pixels", "steps"))
    assert (size, steps) == (127, 20)
    assert f"{size} px, {steps} steps, exact and in one piece unless" in " ".join(nst(command, "--help")[1].split())


def test_an_image_that_is_stretched_is_told_of(trace):
    Image.new("RGB", (200, 40)).save("flat.png")
    code, _, err = trace("a.safetensors", *ORACLE, "--no-run", "--image", "flat.png")
    assert code == 0
    assert "flat.png: 200 x 40 px is stretched to the run's " in err


def test_json_is_json_whatever_the_output_can_encode(nst, photo, painting, narrow_file):
    Path("é😀.png").write_bytes(photo.read_bytes())
    options = ["--weights", narrow_file, *TINY, "--no-run", "--backend", "reference", "-o", "a.safetensors"]
    assert nst("trace", "é😀.png", painting, *options)[0] == 0
    done = subprocess.run(
        [sys.executable, "-m", "nst", "diff", "a.safetensors", "a.safetensors", "--json"],
        env=os.environ | {"PYTHONIOENCODING": "cp1252"},
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout)["comparisons"][0]["content"] == "é😀.png"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_no_utf8(nst, photo, painting, narrow_file):
    Path("caf\udce9.png").write_bytes(photo.read_bytes())
    Path("r\udce9cipe.toml").write_text('based_on = "default"\n')
    options = ["--recipe", "r\udce9cipe.toml", "--weights", narrow_file, *TINY, "--no-run", "--backend", "reference"]
    for output in ("a.safetensors", "b.safetensors"):
        code, _, err = nst("trace", "caf\udce9.png", painting, "-o", output, *options)
        assert code == 0, err
    code, out, err = nst("diff", "a.safetensors", "b.safetensors", "--report", "page")
    assert code == 0, err
    for name in (r"caf\udce9.png", r"r\udce9cipe"):
        assert name in out
        assert name in Path("page/report.html").read_text("utf-8")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_command_with_a_name_that_is_no_utf8_is_shown():
    shown = launch.command(sys.executable, ["compare", "caf\udce9.png"])
    assert shown.encode("utf-8").decode() == r"nst compare 'caf\udce9.png'"


def test_a_fault_in_one_side_fails_and_is_named(nst, photo, painting, narrow_file, backend_name, tmp_path):
    faulty = interpreter(tmp_path / "faulty", FAULT.format(backend_name))
    options = ["--weights", narrow_file, *TINY, "--backends", f"{backend_name},reference"]
    code, out, err = nst("compare", photo, painting, *options, f"--{backend_name}-python", faulty)
    assert code == 1, err
    assert "first difference: target Gram matrix of relu1_1: 1.0e+00" in out
    assert "Gram divisor (T3)" in out
    assert "1 of 1 comparisons are out of tolerance" in out


def test_an_interpreter_without_nst_is_told_what_to_install(nst, photo, painting, tmp_path):
    bare = interpreter(tmp_path / "bare", "sys.exit('/usr/bin/python3: No module named nst')")
    code, _, err = nst("compare", photo, painting, "--backends", "tf,reference", "--tf-python", bare)
    assert code == 2
    assert f'{bare} -m pip install ".[tf]" in nst\'s source folder' in err


def test_a_side_that_breaks_down_is_no_verdict(nst, photo, painting, narrow_file, tmp_path):
    broken = interpreter(tmp_path / "broken", "raise SystemExit('the GPU is on fire')")
    options = ["--weights", narrow_file, *TINY, "--backends", "tf,reference", "--tf-python", broken]
    code, out, err = nst("compare", photo, painting, *options)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == "nst: tf: the GPU is on fire"


@takes_both
def test_both_frameworks_and_the_oracle(nst, photo, painting, narrow_file):
    code, out, err = nst("compare", photo, painting, "--weights", narrow_file, *TINY)
    assert code == 0, err
    for pair in (
        "torch float64 on cpu against tf",
        "torch float64 on cpu against reference",
        "tf float64 on cpu against",
    ):
        assert pair in out
    unsaid, *said = err.splitlines()
    assert "narrow.safetensors does not say in which pixel space its network was trained; it is fed 'caffe'" in unsaid
    assert said == [f"nst: {name}: default (1 of 1)" for name in ("torch", "tf", "reference")]


def test_a_recorded_trace_takes_the_place_of_a_framework(nst, trace, photo, painting, narrow_file, framework):
    trace("elsewhere.safetensors", "--backend", "reference")
    options = ["--weights", narrow_file, *TINY, "--backends", framework, "--against", "elsewhere.safetensors"]
    code, out, err = nst("compare", photo, painting, *options)
    assert code == 0, err
    assert "note: elsewhere.safetensors was recorded elsewhere: reference" in out


def test_a_framework_that_is_missing_is_said(nst, photo, painting, narrow_file, framework, monkeypatch):
    monkeypatch.setattr(backends, "installed", lambda: (framework, "reference"))
    code, out, err = nst("compare", photo, painting, "--weights", narrow_file, *TINY, "--no-run")
    assert code == 0, err
    missing = {"torch": "tf", "tf": "torch"}[framework]
    assert f'note: {missing} is not installed here and is left out: pip install ".[{missing}]"' in out


def test_the_report_lies_beside_the_traces(nst, photo, painting, narrow_file, framework):
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    options = ["--weights", narrow_file, *TINY, "--backends", f"{framework},reference", "--report", "out"]
    Path("out/traces").mkdir(parents=True)  # as an interrupted comparison leaves it
    code, _, err = nst("compare", photo, painting, *options)
    assert code == 0, err
    assert err.splitlines()[-1] == "nst: the report is out/report.html"
    traces = ["out/traces/reference.safetensors", f"out/traces/{framework}.safetensors"]
    assert sorted(map(str, Path("out/traces").iterdir())) == traces
    assert "<html" in Path("out/report.html").read_text("utf-8")
    assert nst("diff", *traces)[0] == 0
    code, _, err = nst("compare", photo, painting, *options)
    assert (code, err) == (2, "nst: out/report.html: exists already; --force (in Python, force=True) overwrites it\n")
    assert nst("diff", *traces, "--report", "out", "--force")[0] == 0
    kept = Path(traces[0]).read_bytes()
    Path("out/report.html").unlink()
    code, _, err = nst("compare", photo, painting, *options)
    assert (code, err) == (2, "nst: out/traces: exists already; --force (in Python, force=True) overwrites it\n")
    code, _, err = nst("compare", photo, painting, *options, "--force", "--against", traces[0])
    assert code == 2
    assert "this report's own traces are written anew" in err
    assert Path(traces[0]).read_bytes() == kept


def test_a_report_that_fails_can_be_asked_for_again(nst, photo, painting, narrow_file, framework, tmp_path):
    options = ["--weights", narrow_file, *TINY, "--no-run", "--backends", f"reference,{framework}", "--report", "out"]
    broken = interpreter(tmp_path / "broken", "sys.exit('broken')")
    code, _, err = nst("compare", photo, painting, *options[:-1], "some/where", f"--{framework}-python", broken)
    assert code == 2, err
    assert "broken" in err
    assert not Path("some").exists()
    Path("out").mkdir()
    assert nst("compare", photo, painting, *options, f"--{framework}-python", broken)[0] == 2
    assert list(Path("out").iterdir()) == []
    assert nst("compare", photo, painting, *options)[0] == 0


def test_a_report_that_fails_leaves_what_was_there(nst, photo, painting, narrow_file, framework, tmp_path):
    options = ["--weights", narrow_file, *TINY, "--no-run", "--backends", f"reference,{framework}", "--report", "out"]
    Path("out/traces").mkdir(parents=True)
    Path("out/traces/mine").write_text("kept")
    broken = interpreter(tmp_path / "broken", "sys.exit('broken')")
    assert nst("compare", photo, painting, *options, "--force", f"--{framework}-python", broken)[0] == 2
    assert Path("out/traces/mine").read_text() == "kept"


def test_pytest_has_a_fixture(photo, painting, narrow_file, nst_compare, framework):
    result = nst_compare(
        photo,
        [painting, photo],
        weights=narrow_file,
        size=32,
        backends=[framework, "reference"],
        no_run=True,
        all_recipes=False,
        guard=False,
        set={"tv.weight": np.float32(3), "style.taps": {"relu1_1": 1, "relu2_1": 0.5}, "source": "5", "alpha": None},
    )
    assert result.ok
    assert result.comparisons[0].style == "painting.jpg, photo.png"
    assert {layer.layer for layer in result.comparisons[0].layers if layer.gram} == {"relu1_1", "relu2_1"}
    typed = ["--no-guard", "--set", "tv.weight=3.0", "--set", 'style.taps={"relu1_1" = 1, "relu2_1" = 0.5}']
    assert shlex.join([*typed, "--set", 'source="5"']) in result.commands[0]
    with pytest.raises(pytest.fail.Exception, match=r"could not run: .* recipe: received 'none'"):
        nst_compare(photo, painting, recipe="none")


def test_the_fixture_warns_of_what_was_left_out(
    photo, painting, narrow_file, nst_compare, framework, tmp_path, monkeypatch
):
    other, module = ("tf", "tensorflow") if framework == "torch" else ("torch", "torch")
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util\n"
        "find = importlib.util.find_spec\n"
        f"hidden = '{module}'\n"
        "importlib.util.find_spec = lambda name, package=None: None if name == hidden else find(name, package)\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]]))
    with pytest.warns(UserWarning, match=f"{other} is not installed here and is left out"):
        result = nst_compare(photo, painting, weights=narrow_file, size=32, no_run=True)
    assert [side.backend for side in result.comparisons[0].sides] == [framework, "reference"]


def test_the_fixture_fails_a_test_where_the_backends_part(
    photo, painting, narrow_file, nst_compare, framework, tmp_path
):
    faulty = interpreter(tmp_path / "faulty", FAULT.format(framework))
    options = {"weights": narrow_file, "size": 32, "backends": f"{framework},reference", "no_run": True}
    options[f"{framework}_python"] = faulty
    with pytest.raises(pytest.fail.Exception, match=r"default, .* target Gram matrix of relu1_1: .*T3"):
        nst_compare(photo, painting, **options)


@pytest.mark.skipif(sys.platform == "win32", reason="a process is ended otherwise there")
def test_a_comparison_that_is_asked_to_end_leaves_no_process_and_no_folder(photo, painting, framework, tmp_path):
    folder = tmp_path / "temporary"
    folder.mkdir()
    options = ["--backends", f"reference,{framework}", "--weights", "embedded", "--size", "128", "--steps", "500"]
    command = [sys.executable, "-m", "nst", "compare", str(photo), str(painting), *options]
    environment = os.environ | {"TMPDIR": str(folder)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        # Once the program of another has taken its place, the child is known to its parent, too.
        children = []
        while not any("trace" in child.cmdline() for child in children):
            assert time.monotonic() < deadline
            time.sleep(0.2)
            children = psutil.Process(process.pid).children()
        process.terminate()
        assert "interrupted" in process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 130
    assert not any(child.is_running() for child in children)
    assert list(folder.iterdir()) == []
