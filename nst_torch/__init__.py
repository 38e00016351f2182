"""The specification in PyTorch."""

import importlib.util
import os
import sys

from nst_spec.errors import NstError
from nst_spec.settings import Settings

FRAMEWORK = "torch"
SPIN_COUNT = "1000"
"""How many turns a thread of GNU's OpenMP, PyTorch's on Linux, waits awake before it sleeps: a three-hundredth of its
own default, and what it takes itself for more threads than CPUs. One that waits awake keeps a processor from those it
waits for, if other processes want the processors too: beside one of them, on two CPUs, a step at 160 px takes three
times as long with ten times as many turns."""


def prepare(settings: Settings) -> None:
    """Set SPIN_COUNT, before PyTorch is imported, unless the environment says how to wait.

    Raises NstError where TensorFlow is loaded, and neither PyTorch nor its compiler, Triton: each carries an LLVM, and
    what loads Triton then ends the process without a word, which importing PyTorch may. Nothing here loads it later.
    """
    late = "tensorflow" in sys.modules and not sys.modules.keys() & {"torch", "triton"}
    if late and importlib.util.find_spec("triton"):
        raise NstError(
            "TensorFlow is loaded in this process already, and PyTorch's compiler after it would abort the process; "
            "load the torch backend before the tf backend, or import triton before tensorflow, or run each in a "
            "process of its own"
        )
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
