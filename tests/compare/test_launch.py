import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from compare import launch
from nst_spec.errors import NstError


@pytest.fixture
def python(tmp_path):
    """An interpreter that does what the shell lines say instead: python('echo hello')."""

    def make(lines):
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{lines}\n")
        path.chmod(0o755)
        return str(path)

    return make


def said(python, *arguments):
    lines = []
    launch.run(python, arguments, "torch", lines.append)
    return lines


def test_what_the_process_says_is_passed_on_without_its_name(python):
    assert said(python("echo 'nst: one' >&2; echo nothing; echo 'nst: two' >&2")) == ["one", "two"]


def test_last_words_that_are_no_text_are_passed_on(python):
    with pytest.raises(NstError, match="torch: \ufffd oops"):
        said(python("printf '\\377 oops\\n' >&2; exit 3"))


def test_it_is_asked_as_a_module_with_the_arguments(python):
    assert said(python('echo "$*" >&2'), "trace", "photo one.jpg") == ["-P -m nst trace photo one.jpg"]


def test_a_checkout_that_runs_from_its_own_folder_is_what_the_process_runs(python, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "theirs")
    source = Path(launch.__file__).parents[1]
    installed = source.name in ("site-packages", "dist-packages")
    assert said(python('echo "$PYTHONPATH" >&2')) == ["theirs" if installed else f"{source}{os.pathsep}theirs"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("echo 'nst: first' >&2; echo 'nst: no such file' >&2; exit 2", "^torch: no such file$"),
        ("exit 3", "^torch: ended with exit code 3$"),
        ("kill -9 $$", "^torch: ended with exit code -9$"),
        ("echo 'python: No module named nst' >&2; exit 1", r"has no nst; .*python -m pip install .\.\[torch\]."),
    ],
)
def test_its_last_words_say_why_it_failed(lines, message, python):
    with pytest.raises(NstError, match=message):
        said(python(lines))


@pytest.mark.parametrize(
    ("system", "typed"), [("linux", "nst diff 'a b.safetensors' c.d"), ("win32", 'nst diff "a b.safetensors" c.d')]
)
def test_a_command_is_typed_as_the_systems_shell_reads_it(system, typed, monkeypatch):
    monkeypatch.setattr(sys, "platform", system)
    assert launch.command(sys.executable, ["diff", "a b.safetensors", "c.d"]) == typed


def test_a_traceback_is_not_passed_on(python):
    crash = "echo begun >&2; echo 'Traceback (most recent call last):' >&2; echo '  File x' >&2; "
    missing = python(f"{crash} echo \"ModuleNotFoundError: No module named 'click'\" >&2; exit 1")
    lines = []
    with pytest.raises(NstError, match=r"has not all that nst needs \(.*'click'\); .*pip install .\.\[torch\]."):
        launch.run(missing, [], "torch", lines.append)
    assert lines == ["begun"]
    with pytest.raises(NstError, match=r"^torch: ValueError: oops$"):
        launch.run(python(f"{crash} echo 'ValueError: oops' >&2; exit 1"), [], "torch", lines.append)
    assert lines == ["begun", "begun"]


def test_a_traceback_that_is_no_end_is_passed_on(python):
    lines = ["Exception ignored in: x", launch.TRACEBACK, '  File "x"', "ValueError: oops", "nst: WARNING", "the end"]
    shown = "; ".join(f"echo '{line}' >&2" for line in lines)
    assert said(python(shown)) == [line.removeprefix("nst: ") for line in lines]
    with pytest.raises(NstError, match=r"^torch: the end$"):
        said(python(f"{shown}; exit 1"))


def test_an_interrupt_of_the_caller_ends_the_process(python):
    def interrupt(line):
        raise KeyboardInterrupt

    asleep = python("echo one >&2; echo two >&2; exec sleep 60")
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        launch.run(asleep, [], "torch", interrupt)
    assert time.monotonic() - started < 30
    assert not any(process.name() == "sleep" for process in psutil.Process().children())


def test_an_interpreter_that_is_not_there_is_named():
    with pytest.raises(NstError, match="torch: cannot run /nowhere/python"):
        said("/nowhere/python")


def test_a_command_is_written_as_it_is_typed():
    assert launch.command(sys.executable, ["trace", "photo one.jpg"]) == "nst trace 'photo one.jpg'"
    assert launch.command("env/bin/python", ["trace", "a.jpg"]) == "env/bin/python -P -m nst trace a.jpg"
