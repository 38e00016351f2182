"""Running backends, each in a process of its own and, if asked, by another interpreter."""

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from nst_spec.errors import NstError, install, reason
from nst_spec.files import in_utf8
from nst_spec.messages import Say

MODULE = ("-P", "-m", "nst")
"""What runs nst by an interpreter; without -P a `compare.py` or `random.py` in the user's folder would be taken."""

TRACEBACK = "Traceback (most recent call last):"
"""How Python begins what it says of an error that nobody handled."""


def run(python: str, arguments: Sequence[str], backend: str, say: Say) -> None:
    """Run `nst` with the arguments by an interpreter, passing on what it says.

    Raises NstError with its last words where it fails, or where there is no such interpreter or no nst in it.
    """
    try:
        process = subprocess.Popen(
            [python, *MODULE, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment(),
        )
    except OSError as error:
        raise NstError(f"{backend}: cannot run {python} ({reason(error)})") from error
    # The last words are kept back: of a process that fails they are the reason, and the caller says it.
    last: list[str] = []
    with process:
        assert process.stderr
        try:
            for line in process.stderr:
                if not _is_unfinished(last):
                    _say_all(last, say)
                    last = []
                last.append(line.rstrip().removeprefix("nst: "))
        except BaseException:
            process.kill()  # an interrupt may have reached this process alone
            raise
    if not process.returncode:
        _say_all(last, say)
        return
    why = last[-1] if last else ""
    if "No module named nst" in why:
        raise NstError(f"{backend}: {python} has no nst; {python} -m {install(backend)}")
    if why.startswith(ModuleNotFoundError.__name__):
        raise NstError(f"{backend}: {python} has not all that nst needs ({why}); {python} -m {install(backend)}")
    raise NstError(f"{backend}: {why or f'ended with exit code {process.returncode}'}")


def _is_unfinished(words: Sequence[str]) -> bool:
    """Return whether they are a traceback without its last line, the first that is not indented."""
    return words[:1] == [TRACEBACK] and all(word.startswith(" ") for word in words[1:])


def _say_all(words: Sequence[str], say: Say) -> None:
    for word in words:
        if word:
            say(word)


def environment() -> dict[str, str]:
    """Return the environment in which a checkout that runs from its own folder is what the other process runs too."""
    source = Path(__file__).parents[1]
    if source.name in ("site-packages", "dist-packages"):
        return dict(os.environ)
    others = os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(source), *([others] if others else [])])}


def command(python: str, arguments: Sequence[str]) -> str:
    """Return the command as a person types it."""
    words = ["nst", *arguments] if python == sys.executable else [python, *MODULE, *arguments]
    return in_utf8(subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words))
