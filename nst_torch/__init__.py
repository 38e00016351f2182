"""The specification in PyTorch."""

import importlib.util
import sys

from nst_spec import heap
from nst_spec.backend import Settings
from nst_spec.errors import NstError

FRAMEWORK = "torch"


def prepare(settings: Settings) -> None:
    """Let the process of a fast run keep the memory that it frees: 15% off a step at 512 px."""
    if settings.fast:
        heap.keep()


def check_import_order() -> None:
    """Raise NstError where importing PyTorch would abort the process.

    Its compiler, Triton, and TensorFlow each carry an LLVM; loading Triton's second ends the process without a word.
    """
    if "tensorflow" in sys.modules and "triton" not in sys.modules and importlib.util.find_spec("triton"):
        raise NstError(
            "TensorFlow is loaded in this process already, and PyTorch after it would abort the process; "
            "load the torch backend before the tf backend, or run each in a process of its own"
        )
