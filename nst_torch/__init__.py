"""The specification in PyTorch."""

import importlib.util
import os
import sys

from nst_spec.backend import Settings
from nst_spec.errors import NstError

FRAMEWORK = "torch"

ENVIRONMENT = {"THP_MEM_ALLOC_ENABLE": "1"}
"""What PyTorch reads once, before its first large tensor; what is set already stands. Linux then gives it memory by the
2 MiB and not by the 4 KiB: a tenth of the page faults, and 5% off a step at 512 px."""


def prepare(settings: Settings) -> None:
    """Set ENVIRONMENT, before PyTorch is imported."""
    del settings
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def check_import_order() -> None:
    """Raise NstError where importing PyTorch would abort the process.

    Its compiler, Triton, and TensorFlow each carry an LLVM; loading Triton's second ends the process without a word.
    """
    if "tensorflow" in sys.modules and "triton" not in sys.modules and importlib.util.find_spec("triton"):
        raise NstError(
            "TensorFlow is loaded in this process already, and PyTorch after it would abort the process; "
            "load the torch backend before the tf backend, or run each in a process of its own"
        )
