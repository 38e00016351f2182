"""The machine that numbers of speed belong to, and the memory that a process has taken of it."""

import platform
import re
import subprocess
import sys
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict

from nst_spec import cpu

PROCESS_FACTS = Path("/proc/self/status")


class Machine(BaseModel):
    """A machine: its processor by the maker's name, the CPUs that this process may use, the operating system.

    `model` tells processors of one name apart, in a virtual machine above all: Linux' numbers of an x86 processor's
    family and model. It is None where there are none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    processor: str
    cpus: int
    system: str
    model: str | None = None

    def __str__(self) -> str:
        processor = f"{self.processor} ({self.model})" if self.model else self.processor
        return f"{processor}, {self.cpus} CPUs, {self.system}"


def describe() -> Machine:
    """Return this machine."""
    numbers = cpu.fact("cpu family"), cpu.fact("model")
    model = "family {}, model {}".format(*numbers) if all(numbers) else None
    return Machine(processor=_processor(), cpus=cpu.count(), system=system(), model=model)


def system() -> str:
    """Return the operating system's name and the processor's kind."""
    return f"{platform.system()} {platform.machine()}"


def _processor() -> str:
    named = cpu.fact("model name")
    if named:
        return named
    if sys.platform == "darwin":
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return platform.processor() or platform.machine()


def peak_resident() -> int | None:
    """Return the most bytes that this process has had in memory, or None where the system does not say."""
    if PROCESS_FACTS.exists():
        # Linux' getrusage begins with the memory of the parent process.
        highest = re.search(r"^VmHWM:\s*(\d+) kB$", PROCESS_FACTS.read_text("utf-8"), re.MULTILINE)
        if highest:
            return int(highest[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows, where psutil knows
        return getattr(psutil.Process().memory_info(), "peak_wset", None)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
