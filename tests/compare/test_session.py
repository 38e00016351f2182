import shutil
from pathlib import Path

import numpy as np
import pytest

from compare import launch, session, trace
from compare.session import Session, compare_files
from nst_spec.errors import NstError
from tests.compare.conftest import by, changed


@pytest.fixture
def launched(monkeypatch, traced):
    """Take the place of every launch: write what `made` says, and remember the arguments."""
    calls = []

    def run(python, arguments, backend, say):
        calls.append(arguments)
        made = run.made if "--closer" in arguments or backend != "tf" else run.faulty
        path = Path(arguments[arguments.index("-o") + 1])
        if "--all-recipes" in arguments:
            path.mkdir()
            path /= f"{made.header.recipe['name']}.safetensors"
        trace.write(path, made)

    run.made = run.faulty = traced()
    run.calls = calls
    monkeypatch.setattr(launch, "run", run)
    return run


def start(tmp_path, *backends, **options):
    begun = Session(["photo.jpg", "painting.jpg"], tmp_path, say=print, **options)
    for backend in backends:
        begun.record(backend)
    return begun


def test_where_only_a_run_is_out_both_sides_are_recorded_again_for_a_second_look(launched, tmp_path):
    launched.faulty = changed(launched.made, by(1.001), "run/image/6", "nudged/1/image/6")
    begun = start(tmp_path, "torch", "tf")
    ((comparison, _),) = begun.compare()
    assert comparison.ok
    assert ["--closer" in call for call in launched.calls] == [False, False, True, True]
    # Where the session's folder is, none of the commands says.
    folder = tmp_path.name
    assert [folder in command for command in begun.commands] == [False] * 4
    assert ["-o closer/tf.safetensors" in command for command in begun.commands] == [False, False, False, True]
    assert begun.notes[0].startswith("default, torch against tf: a second look, after image after step 6: ")
    # What was recorded first is still there, for other pairs.
    assert not next(compare_files(tmp_path / "torch.safetensors", tmp_path / "tf.safetensors"))[0].ok


def test_a_second_look_asks_each_side_for_what_the_first_did(launched, tmp_path):
    launched.faulty = changed(launched.made, by(1.001), "run/image/6", "nudged/1/image/6")
    begun = start(tmp_path, "torch")
    begun.record("tf", "--no-run")
    list(begun.compare())
    assert ["--no-run" in call for call in launched.calls] == [False, True, False, True]


def test_what_every_process_says_is_told_once(launched, monkeypatch, tmp_path):
    def run(python, arguments, backend, say):
        say("WARNING: other weights")
        say(f"{backend}: default (1 of 1)")
        launched(python, arguments, backend, say)

    monkeypatch.setattr(launch, "run", run)
    told = []
    begun = Session(["photo.jpg", "painting.jpg"], tmp_path, say=told.append)
    for backend in ("torch", "tf"):
        begun.record(backend)
    assert told == ["WARNING: other weights", "torch: default (1 of 1)", "tf: default (1 of 1)"]


def test_of_all_recipes_the_one_that_is_out_is_looked_at_again(launched, tmp_path):
    launched.faulty = changed(launched.made, by(1.001), "run/image/6", "nudged/1/image/6")
    ((comparison, _),) = start(tmp_path, "torch", "tf", all_recipes=True).compare()
    assert comparison.ok
    assert len(launched.calls) == 4
    for call in launched.calls[2:]:
        assert "--all-recipes" not in call
        assert call[call.index("--recipe") + 1] == "default"


def test_a_flipped_choice_that_moves_the_gradient_too_far_is_looked_at_again(launched, tmp_path):
    flipped = changed(launched.made, lambda choices: choices ^ np.uint8(1), "choices/relu5_1")
    launched.faulty = changed(flipped, by(1.001), "gradient")
    ((comparison, _),) = start(tmp_path, "torch", "tf").compare()
    assert comparison.ok
    assert len(launched.calls) == 4


def test_where_anything_else_is_out_nothing_is_recorded_again(launched, tmp_path):
    launched.faulty = changed(launched.made, by(1.001), "gradient")
    begun = start(tmp_path, "torch", "tf")
    ((comparison, _),) = begun.compare()
    assert not comparison.ok
    assert len(launched.calls) == 2


def test_a_trace_that_was_recorded_elsewhere_is_not_looked_at_again(launched, tmp_path):
    faulty = changed(launched.made, by(1.001), "run/image/6", "nudged/1/image/6")
    trace.write(tmp_path / "theirs.safetensors", faulty)
    begun = start(tmp_path, "torch")
    begun.add(tmp_path / "theirs.safetensors")
    ((comparison, _),) = begun.compare()
    assert not comparison.ok
    assert len(launched.calls) == 1


def test_every_pair_of_three_sides_is_compared(launched, tmp_path):
    begun = start(tmp_path, "torch", "tf")
    begun.record_oracle(runs=True)
    assert len(list(begun.compare())) == 3
    assert begun.notes == []


@pytest.mark.parametrize(
    ("work", "runs", "asked", "note"),
    [
        (1e12, True, True, None),
        (2e8, True, True, "judged the image alone"),
        (2e8, False, True, None),
        (1e3, True, False, "takes too long"),
    ],
)
def test_the_oracle_is_asked_for_what_it_can_do_in_reasonable_time(
    work, runs, asked, note, launched, tmp_path, monkeypatch
):
    monkeypatch.setattr(session, "REFERENCE_WORK", work)
    begun = start(tmp_path, "torch")
    begun.record_oracle(runs=runs)
    assert ("reference" in begun.sides) is asked
    assert bool(note) == bool(begun.notes)
    assert (note or "") in "".join(begun.notes)
    if asked:
        assert ("--no-run" in launched.calls[-1]) is bool(note)
        device = launched.calls[-1].index("--device")
        assert launched.calls[-1][device + 1] == "cpu"


@pytest.mark.parametrize(("work", "note"), [(2e8, "judged the image alone"), (1e7, "takes too long")])
def test_the_oracle_is_asked_for_what_the_dearest_recipe_takes(work, note, launched, traced, tmp_path, monkeypatch):
    monkeypatch.setattr(session, "REFERENCE_WORK", work)
    cheap = {"content.taps": {"relu1_1": 1.0}, "style.taps": {"relu1_1": 1.0}}
    begun = start(tmp_path, "torch", all_recipes=True)
    trace.write(tmp_path / "torch" / "cheap.safetensors", traced(runs=False, **cheap))
    begun.record_oracle(runs=True)
    assert [note in said for said in begun.notes] == [True]


def test_one_side_is_none_to_compare(launched, tmp_path):
    with pytest.raises(NstError, match="expected two backends to compare, received torch"):
        list(start(tmp_path, "torch").compare())


def test_a_trace_against_a_folder_is_refused(trace, tmp_path):
    (tmp_path / "b").mkdir()
    for path in ("default.safetensors", "b/default.safetensors"):
        session.trace.write(tmp_path / path, trace)
    with pytest.raises(NstError, match=r"the traces differ: \S+default.safetensors has default; \S+b has default$"):
        list(compare_files(tmp_path / "default.safetensors", tmp_path / "b"))


def test_folders_of_different_recipes_are_named(trace, tmp_path):
    for folder, name in (("a", "default"), ("b", "gatys2016")):
        (tmp_path / folder).mkdir()
        session.trace.write(tmp_path / folder / f"{name}.safetensors", trace)
    with pytest.raises(NstError, match=r"a has default; .*b has gatys2016"):
        list(compare_files(tmp_path / "a", tmp_path / "b"))
    shutil.rmtree(tmp_path / "a")
    (tmp_path / "a").mkdir()
    with pytest.raises(NstError, match="a folder without any"):
        list(compare_files(tmp_path / "a", tmp_path / "b"))
