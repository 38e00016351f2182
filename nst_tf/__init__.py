"""The specification in TensorFlow."""

import contextlib
import gc
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator

from nst_spec import cpu
from nst_spec.settings import AUTO, Settings

FRAMEWORK = "tensorflow"

ONEDNN, THREADS = "TF_ENABLE_ONEDNN_OPTS", "TF_NUM_INTRAOP_THREADS"
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
"""What TensorFlow and Keras read once, when they are first imported; what is set already stands."""

_onednn = False


def prepare(settings: Settings) -> None:
    """Choose oneDNN or Eigen, before TensorFlow is imported; after that, or where ONEDNN is set, this changes nothing.

    Only oneDNN has the CPU itself multiply bfloat16 numbers. Its float32 convolutions are the fastest where there is
    AVX-512; without, the largest of them are plain loops: minutes for one pass at 1024 px. They are three times less
    exact than Eigen's (relu5_4 of VGG19: 2.4e-6 against 7.5e-7), more than the parity of the frameworks allows.
    """
    global _onednn
    automatic = settings.precision == AUTO and cpu.gains_by_bf16()
    faster = settings.fast and cpu.has_avx512()
    _onednn = settings.precision == "bf16" or (settings.dtype == "float32" and (automatic or faster))


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Prepare the import of TensorFlow: set ENVIRONMENT, and hold stderr back unless an exception leaves the block.

    TensorFlow's libraries write there while they load, before any log level of theirs takes effect. All that is made
    meanwhile is there to stay, so no garbage is collected: a tenth of the import's time.
    The choice of oneDNN holds in the block alone, where TensorFlow must be asked about it, which settles it.
    """
    # As many threads as TensorFlow starts by itself, or fewer where they would wait for CPUs.
    for name, value in (ENVIRONMENT | {THREADS: str(cpu.count())}).items():
        os.environ.setdefault(name, value)
    if "torch" in sys.modules and "tensorflow" not in sys.modules:
        # PyTorch may load its compiler later, which after TensorFlow would abort the process: each carries an LLVM.
        with contextlib.suppress(ImportError):
            importlib.import_module("triton")
    with _onednn_chosen(), _uncollected(), _stderr_held():
        yield


@contextlib.contextmanager
def _onednn_chosen() -> Iterator[None]:
    """Set ONEDNN for as long as this lasts, if it is not set already: other processes choose for themselves."""
    if ONEDNN in os.environ:
        yield
        return
    os.environ[ONEDNN] = str(int(_onednn))
    try:
        yield
    finally:
        del os.environ[ONEDNN]


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def _stderr_held() -> Iterator[None]:
    try:
        stderr = os.dup(2)
    except OSError:  # a program without a terminal may have none, and nothing to hold back
        yield
        return
    if sys.stderr:
        sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(stderr, 2)
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
