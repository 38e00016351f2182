"""What the process keeps of the memory it frees; in processes of their own, since it is kept for good."""

import platform
import subprocess
import sys
import types

import pytest

from nst_spec import heap

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")

BLOCK = 64 * 2**20
LAYER = 64 * 2048 * 2048 * 4  # the largest of an image of 2048 x 2048 px


def printed(code, block=BLOCK):
    """Numbers that a new process prints; in it `filled()` takes a block of memory, writes all of it and frees it."""
    prelude = (
        "import psutil, resource\n"
        "from nst_spec import heap\n"
        f"filled = lambda: b'x' * {block} and None\n"
        "resident = lambda: psutil.Process().memory_info().rss\n"
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
    )
    done = subprocess.run([sys.executable, "-c", prelude + code], capture_output=True, text=True, check=True)
    return [int(number) for number in done.stdout.split()]


@pytest.mark.parametrize("block", [BLOCK, LAYER])
def test_what_is_kept_is_not_cleared_anew_each_time(block):
    again = "filled(); before = faults(); [filled() for _ in range(3)]; print(faults() - before)"
    (anew,), (kept,) = printed(again, block), printed(f"heap.keep(True); {again}", block)
    assert kept < anew / 10


def test_the_library_may_have_its_own_way_again():
    code = "heap.keep(True); heap.keep(False); before = resident(); filled(); print(resident() - before)"
    (kept,) = printed(code)
    assert kept < 0.1 * BLOCK


def test_who_kept_nothing_leaves_the_library_alone(monkeypatch):
    calls = []
    library = types.SimpleNamespace(mallopt=lambda *settings: calls.append(settings), malloc_trim=lambda _: None)
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(heap, "_keeps", False)
    heap.keep(False)
    assert calls == []
    with heap.borrowed():
        heap.keep(True)
        kept = list(calls)
    heap.keep(False)
    assert [name for name, _ in calls] == 2 * [name for name, _ in kept]
    assert calls[len(kept) :] != kept


def test_what_is_kept_is_given_back_when_asked():
    code = "heap.keep(True); before = resident(); filled(); kept = resident(); heap.give_back(); "
    code += "print(kept - before, kept - resident())"
    kept, given_back = printed(code)
    assert kept >= 0.9 * BLOCK
    assert given_back >= 0.9 * BLOCK


def windows(name):
    raise TypeError(f"LoadLibrary() argument 1 must be str, not {name}")


@pytest.mark.parametrize("lacking", ["the library", "mallopt", "malloc_trim"])
def test_a_system_that_lacks_some_of_it_is_left_alone(lacking, monkeypatch):
    calls = []
    library = {"mallopt": lambda *settings: calls.append(settings), "malloc_trim": calls.append}
    library.pop(lacking, None)
    there = windows if lacking == "the library" else lambda name: types.SimpleNamespace(**library)
    monkeypatch.setattr(heap.ctypes, "CDLL", there)
    heap.keep(True)
    heap.give_back()
    assert calls == []
