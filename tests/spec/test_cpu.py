import os
import platform

import pytest

from nst_spec import control_groups, cpu

AMD, INTEL = "AuthenticAMD", "GenuineIntel"


@pytest.fixture
def cpu_info(tmp_path):
    """Write what Linux says of a CPU."""

    def write(vendor, flags=""):
        info = tmp_path / "cpuinfo"
        info.write_text(
            f"processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: Xeon amx_bf16\nflags\t\t: {flags}\nbugs\t\t:\n"
        )
        return info

    return write


@pytest.mark.parametrize(
    ("flags", "has_it"),
    [
        ("fpu avx2 avx512f avx512dq avx512cd avx512bw avx512vl", True),
        ("fpu avx2 avx512f avx512_vnni", False),
        ("fpu avx2 avx512f avx512cd avx512er avx512pf", False),
        ("fpu avx2", False),
    ],
)
def test_a_cpu_has_avx512_where_the_kernel_names_all_of_it(flags, has_it, cpu_info):
    assert cpu.has_avx512(cpu_info(INTEL, flags)) is has_it


@pytest.mark.parametrize(
    ("vendor", "flags", "gains"),
    [
        (AMD, "fpu avx2 avx512f avx512_bf16", True),
        (AMD, "fpu avx2 avx512f avx512_vnni", False),
        (AMD, "fpu avx512_bf16x", False),
        (INTEL, "fpu avx2 amx_bf16 amx_tile amx_int8", True),
        (INTEL, "fpu avx2 avx512f avx512_bf16 amx_bf16 amx_tile", True),
        (INTEL, "fpu avx2 avx512f avx512_bf16 avx512_fp16", False),
        (INTEL, "fpu avx2", False),
    ],
)
def test_bfloat16_is_faster_by_amx_and_by_amds_avx512(vendor, flags, gains, cpu_info):
    assert cpu.gains_by_bf16(cpu_info(vendor, flags)) is gains


@pytest.mark.parametrize(("vendor", "is_intel"), [(INTEL, True), (AMD, False)])
def test_a_cpus_maker_is_known(vendor, is_intel, cpu_info):
    assert cpu.is_intel(cpu_info(vendor)) is is_intel


@pytest.mark.parametrize(
    ("processor", "is_intel"),
    [
        ("Intel64 Family 6 Model 142 Stepping 12, GenuineIntel", True),
        ("AMD64 Family 25, AuthenticAMD", False),
        ("", False),
    ],
)
def test_where_linux_says_nothing_pythons_name_of_the_processor_tells(processor, is_intel, tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "processor", lambda: processor)
    assert cpu.is_intel(tmp_path / "missing") is is_intel


@pytest.mark.parametrize("question", [cpu.gains_by_bf16, cpu.has_avx512, cpu.is_intel])
def test_a_system_that_does_not_say_has_none(question, tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "processor", lambda: "")
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
