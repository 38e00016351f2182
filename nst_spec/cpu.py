"""What this machine's CPU can do, as far as a choice depends on it."""

import functools
import math
import os
import platform
import sys
from pathlib import Path

from nst_spec import control_groups

CPU_INFO = Path("/proc/cpuinfo")
AMX_BF16, AVX512_BF16 = "amx_bf16", "avx512_bf16"
"""Linux' names of the x86 instructions that multiply bfloat16 numbers."""
AVX512_FLAGS = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl"})
"""Its names of the sets of 512 bits that oneDNN's fast convolutions want, all of them."""


def count() -> int:
    """Return how many CPUs this process can keep busy.

    Those are the ones that it may run on, or the fewer whose time its control groups leave it.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    there = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min([there, *map(_quota, control_groups.folders())])


def _quota(group: Path) -> int:
    try:
        time, period = map(int, (group / "cpu.max").read_text().split())
    except (OSError, ValueError):  # ValueError: "max", no limit
        return sys.maxsize
    return math.ceil(time / period)


def fact(name: str, cpu_info: Path = CPU_INFO) -> str | None:
    """Return what Linux' `cpu_info` says of the first CPU under a name, or None where it says nothing."""
    try:
        lines = cpu_info.read_text("utf-8").splitlines()
    except OSError:
        return None
    named = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in named if key.strip() == name), None)


def gains_by_bf16(cpu_info: Path = CPU_INFO) -> bool:
    """Return whether the CPU multiplies bfloat16 numbers faster than float32's; False where `cpu_info` does not say.

    An Intel Xeon of the fifth generation does so by AMX alone, which a virtual machine may hide: by AVX-512 a product
    of matrices takes it twice as long as in float32. AMD's EPYCs take half as long by AVX-512.
    """
    flags = _flags(cpu_info)
    return AMX_BF16 in flags or (AVX512_BF16 in flags and not is_intel(cpu_info))


def has_avx512(cpu_info: Path = CPU_INFO) -> bool:
    """Return whether the CPU has AVX512_FLAGS; False where Linux' `cpu_info` does not say so."""
    return _flags(cpu_info) >= AVX512_FLAGS


@functools.cache
def is_intel(cpu_info: Path = CPU_INFO) -> bool:
    """Return whether the CPU is Intel's, whose products of matrices their MKL computes best."""
    # Windows tells it at the end of the processor's name.
    return (fact("vendor_id", cpu_info) or platform.processor()).endswith("GenuineIntel")


def _flags(cpu_info: Path) -> frozenset[str]:
    return frozenset((fact("flags", cpu_info) or "").split())
