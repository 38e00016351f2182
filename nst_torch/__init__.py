"""The specification in PyTorch."""

import importlib.util
import sys

from nst_spec.backend import Settings
from nst_spec.errors import NstError

FRAMEWORK = "torch"


def prepare(settings: Settings) -> None:
    """Raise NstError where importing PyTorch would abort the process.

    Its compiler, Triton, and TensorFlow each carry an LLVM; loading Triton's second ends the process without a word.
    """
    if "tensorflow" in sys.modules and "triton" not in sys.modules and importlib.util.find_spec("triton"):
        raise NstError(
            "TensorFlow is loaded in this process already, and PyTorch after it would abort the process; "
            "load the torch backend before the tf backend, or run each in a process of its own"
        )
