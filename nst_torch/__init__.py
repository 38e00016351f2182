"""The specification in PyTorch."""

import importlib.util
import os
import sys

from nst_spec.backend import Settings
from nst_spec.errors import NstError

FRAMEWORK = "torch"
WAITING = {"GOMP_SPINCOUNT": "10000"}
"""How often a thread of GNU's OpenMP, PyTorch's on Linux, asks whether the others are done before it sleeps: for some
tenths of a millisecond, where its own default is thirty times that. A thread that asks keeps a processor from those it
waits for, if others want it too: beside as many busy processes as CPUs a step takes two to seven times as long."""


def prepare(settings: Settings) -> None:
    """Set WAITING unless the environment says how to wait; raise NstError where importing PyTorch would abort the
    process.

    Its compiler, Triton, and TensorFlow each carry an LLVM; loading Triton's second ends the process without a word.
    """
    if "tensorflow" in sys.modules and "triton" not in sys.modules and importlib.util.find_spec("triton"):
        raise NstError(
            "TensorFlow is loaded in this process already, and PyTorch after it would abort the process; "
            "load the torch backend before the tf backend, or run each in a process of its own"
        )
    if "OMP_WAIT_POLICY" not in os.environ:
        for name, value in WAITING.items():
            os.environ.setdefault(name, value)
