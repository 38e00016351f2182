"""The specification in TensorFlow."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

FRAMEWORK = "tensorflow"

# Read once, when TensorFlow and Keras are first imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# oneDNN's float32 convolutions are three times less exact than Eigen's (relu5_4 of VGG19: 2.4e-6 against 7.5e-7).
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep back what is written to stderr, and pass it on only if an exception leaves the block.

    TensorFlow's libraries write there while they load, before any log level of theirs takes effect.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held, contextlib.ExitStack() as stack:
        stderr = os.dup(2)
        stack.callback(os.close, stderr)
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
