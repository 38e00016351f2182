"""What this machine's CPU can do, as far as a choice depends on it."""

from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
BF16_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})
"""Linux' names of the x86 instructions that multiply bfloat16 numbers."""


def multiplies_bf16(cpu_info: Path = CPU_INFO) -> bool:
    """Return whether the CPU multiplies bfloat16 numbers natively; False where Linux' `cpu_info` does not say so."""
    try:
        lines = cpu_info.read_text().splitlines()
    except OSError:
        return False
    return any(line.startswith("flags") and BF16_FLAGS.intersection(line.split()) for line in lines)
