"""Ctrl-C, and the other ways in which a process is asked to end."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

from nst_spec.messages import Say


def wishes_to_end() -> tuple[signal.Signals, ...]:
    """Return the signals by which a process is asked to end: by the system, or because its terminal is gone.

    One that is ignored, as `nohup` has it, is none.
    """
    there = (getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP", "SIGBREAK"))
    return tuple(number for number in there if number and signal.getsignal(number) is not signal.SIG_IGN)


def may_be_handled() -> bool:
    """Return whether this is the main thread: Python lets no other choose what a signal does."""
    return threading.current_thread() is threading.main_thread()


@contextmanager
def ended_as_interrupted() -> Iterator[None]:
    """Have a process that is asked to end clean up as at Ctrl-C, unless its program does something else."""
    wishes = wishes_to_end() if may_be_handled() else ()
    ours = [number for number in wishes if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


class Interrupt:
    """Turns the first Ctrl-C, or wish to end, into a request to stop after the step; a second interrupts at once."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.requested = False

    def __enter__(self) -> Self:
        numbers = (signal.SIGINT, *wishes_to_end()) if may_be_handled() else ()
        self.before = {number: signal.signal(number, self._request) for number in numbers}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        self._restore()
        self.requested = True
        asked = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        self.say(f"stopping after this step and writing the picture; {asked} again to quit without it")
