import os

import pytest

from nst_spec import control_groups, cpu

QUESTIONS = [cpu.multiplies_bf16, cpu.has_avx512]


@pytest.mark.parametrize(
    ("flags", "answers"),
    [
        ("fpu avx2 avx512f avx512_bf16 amx_tile", [True, False]),
        ("fpu avx2 amx_bf16 amx_tile amx_int8", [True, False]),
        ("fpu avx2 avx512f avx512_vnni", [False, False]),
        ("fpu avx512_bf16x", [False, False]),
        ("fpu avx2 avx512f avx512dq avx512cd avx512bw avx512vl", [False, True]),
        ("fpu avx2 avx512f avx512cd avx512er avx512pf", [False, False]),
        ("fpu avx2", [False, False]),
        ("fpu avx512f avx512dq avx512bw avx512vl avx512_bf16", [True, True]),
    ],
)
def test_a_cpu_can_do_what_the_kernel_names_all_instructions_of(flags, answers, tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text(f"processor\t: 0\nmodel name\t: amx_bf16\nflags\t\t: {flags}\nbugs\t\t:\n")
    assert [question(info) for question in QUESTIONS] == answers


@pytest.mark.parametrize(("vendor", "is_intel"), [("GenuineIntel", True), ("AuthenticAMD", False)])
def test_a_cpus_maker_is_known(vendor, is_intel, tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: Xeon\n")
    assert cpu.is_intel(info) is is_intel


@pytest.mark.parametrize("question", [*QUESTIONS, cpu.is_intel])
def test_a_system_that_does_not_say_has_none(question, tmp_path):
    assert question(tmp_path / "missing") is False


@pytest.mark.parametrize(
    ("limits", "cpus"),
    [
        ({}, 8),
        ({"job": "max 100000"}, 8),
        ({"job": "200000 100000", "job/step": "max 100000"}, 2),
        ({"job": "400000 100000", "job/step": "150000 100000"}, 2),
        ({"job": "50000 100000"}, 1),
        ({"job": "1600000 100000"}, 8),
        ({"elsewhere": "100000 100000"}, 8),
    ],
    ids=[
        "no limit",
        "max",
        "of an outer group",
        "the tightest, begun ones whole",
        "a half",
        "above",
        "another group's",
    ],
)
def test_no_more_cpus_are_counted_than_a_container_has_the_time_of(limits, cpus, tmp_path, monkeypatch):
    for name, limit in limits.items():
        folder = tmp_path / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cpu.max").write_text(f"{limit}\n")
    (tmp_path / "own").write_text("1:cpu:/elsewhere\n0::/job/step\n")
    monkeypatch.setattr(control_groups, "OWN", tmp_path / "own")
    monkeypatch.setattr(control_groups, "ROOT", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert cpu.count() == cpus


def test_a_system_without_control_groups_limits_no_cpus(tmp_path, monkeypatch):
    monkeypatch.setattr(control_groups, "OWN", tmp_path / "missing")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert cpu.count() == 8
