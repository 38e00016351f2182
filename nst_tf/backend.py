"""The protocol's door: devices, precision and switches, NumPy in and NumPy out."""

import dataclasses
import os
from contextlib import AbstractContextManager, nullcontext

from nst_spec import backend as protocol
from nst_spec import cpu, heap, tiles
from nst_spec.errors import NstError
from nst_spec.settings import Precision, Settings
from nst_tf import THREADS, importing

with importing():
    import keras
    import tensorflow as tf

    # No public names tell.
    from tensorflow.python.framework.config import is_op_determinism_enabled
    from tensorflow.python.util._pywrap_util_port import IsMklEnabled as has_onednn

    has_onednn()  # which settles it

from nst_tf import memory
from nst_tf.bench import Workload
from nst_tf.objective import Objective
from nst_tf.tiles import TiledObjective

NETWORK_DTYPES = {"bf16": "bfloat16"}
"""What the network computes in at a precision that is not the run's own dtype."""
XLA_PIXELS = 192 * 192
"""Content images of fewer pixels are done in less time than XLA takes to compile."""
TF_DEVICES = {"cpu": "/CPU:0", "cuda": "/GPU:0", "mps": "/GPU:0"}


def available_devices() -> tuple[str, ...]:
    """Return the devices that TensorFlow can use here, the fastest first."""
    has_gpu = bool(tf.config.list_physical_devices("GPU"))
    # Apple's GPU comes by a plug-in; AMD's goes by the name of NVIDIA's, as in PyTorch.
    of_its_own = tf.test.is_built_with_gpu_support()
    found = {"cuda": has_gpu and of_its_own, "mps": has_gpu and not of_its_own, "cpu": True}
    return tuple(name for name, there in found.items() if there)


def gains_by_bf16(device: str) -> bool:
    """Return whether the device multiplies bfloat16 numbers faster than float32's."""
    if device == "cuda":
        details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
        return details.get("compute_capability", (0, 0)) >= protocol.BF16_CAPABILITY
    # Without oneDNN, which an earlier run here or the environment may have refused, it takes 70 times as long.
    return device == "cpu" and has_onednn() and cpu.gains_by_bf16()


def configure(threads: int | None, precision: Precision, deterministic: bool) -> None:
    """Set the process's switches: CPU threads, TensorFloat-32 (its error is about 1e-3), determinism, GPU memory."""
    try:
        for gpu in tf.config.list_physical_devices("GPU"):
            if not tf.config.experimental.get_memory_growth(gpu):
                tf.config.experimental.set_memory_growth(gpu, True)
        if threads not in (None, _threads()):
            tf.config.threading.set_intra_op_parallelism_threads(threads)
    except RuntimeError as error:
        raise NstError(
            f"TensorFlow is already running in this process, too late for threads or memory settings: {error}"
        ) from error
    tf.config.experimental.enable_tensor_float_32_execution(precision == "tf32")
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    # Each scale of a run is traced once, on purpose; TensorFlow would warn of it.
    tf.get_logger().setLevel("ERROR")


def _threads() -> int:
    """Return how many CPU threads a kernel of TensorFlow's is computed in."""
    environment = os.environ.get(THREADS, "")
    # TensorFlow heeds neither 0 nor what is no number.
    given = int(environment) if environment.isdecimal() else 0
    return tf.config.threading.get_intra_op_parallelism_threads() or given or cpu.count()


class Backend(protocol.Configured):
    """TensorFlow on a device, in a precision; nst_spec.backend.Backend."""

    name = "tf"
    xla = False
    """Whether XLA compiles the last objective's passes through the network."""

    def __init__(self, settings: Settings) -> None:
        if keras.backend.backend() != "tensorflow":
            raise NstError(f"Keras runs on {keras.backend.backend()} here; set KERAS_BACKEND=tensorflow and try again")
        if keras.config.image_data_format() != "channels_last":
            raise NstError(
                "Keras has an image's channels first here; call keras.config.set_image_data_format('channels_last'), "
                "or set it in ~/.keras/keras.json, and try again"
            )
        super().__init__(settings, available_devices(), gains_by_bf16)
        configure(settings.threads, self.precision, settings.deterministic)

    def _takes_winograd(self, problem: protocol.Problem) -> bool:
        return not is_op_determinism_enabled() and self.gains_by_winograd(problem)

    def _gains_by_xla(self, pixels: int) -> bool:
        """Return whether XLA may compile the network, and is faster for so many pixels: oneDNN always is.

        XLA rounds otherwise than TensorFlow's kernels, and promises no determinism. It was not measured on a GPU, and
        takes seven times as long for float64.
        """
        may_round = self.fast and self.is_single_on_cpu and not is_op_determinism_enabled()
        return may_round and not self._onednn and pixels >= XLA_PIXELS

    @property
    def _onednn(self) -> bool:
        """Whether oneDNN computes the convolutions."""
        return (self.device, self.dtype) == ("cpu", "float32") and has_onednn()

    def undisturbed(self) -> AbstractContextManager[None]:
        """Return a context that changes nothing; nst_spec.backend.Backend.

        Raises NstError inside a graph, which cannot be left for sure.
        """
        if not tf.executing_eagerly():
            raise NstError("TensorFlow is building a graph: expected to be called outside of tf.function and tf.Graph")
        return nullcontext()

    def versions(self) -> dict[str, str]:
        """Return the versions of tensorflow and keras, and of the GPU's software if it computes there."""
        found = {"tensorflow": tf.__version__, "keras": keras.__version__}
        if self.device == "cuda":
            build = tf.sysconfig.get_build_info()
            details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
            of_software = {name: build.get(f"{name}_version") for name in ("cuda", "cudnn", "rocm")}
            found |= {name: version for name, version in of_software.items() if version}
            found["gpu"] = details["device_name"]
        return found

    def switches(self) -> dict[str, int | bool | str]:
        """Return the switches as TensorFlow has them now."""
        return {
            "threads": _threads(),
            "tf32": tf.config.experimental.tensor_float_32_execution_enabled(),
            "deterministic": is_op_determinism_enabled(),
            "onednn": has_onednn(),
            "xla": self.xla,
            "winograd": self.winograd,
        }

    def _workspace(self) -> int:
        if self.xla:
            return memory.XLA_WORKSPACE
        return memory.ONEDNN_WORKSPACE if self._onednn else memory.WORKSPACE

    def objective(self, problem: protocol.Problem, tile: tiles.Tile | None = None) -> Objective:
        """Return the problem with the network built and the targets computed."""
        memory.release(self.device)
        self.xla = self._gains_by_xla(problem.pixels)
        self.winograd = self._takes_winograd(problem)
        free = memory.free(self.device)
        plan = self.planned(problem, tile, free, self._workspace())
        if self.xla and plan.tile and not self._gains_by_xla(plan.tile**2):
            self.xla = False
            plan = self.planned(problem, tile, free, self._workspace())
        problem = dataclasses.replace(problem, recipe=plan.adapted(problem.recipe))
        network_dtype = NETWORK_DTYPES.get(self.precision, self.dtype)
        if self.fast:
            # 13% off a step at 512 px. Tiles are to take little memory, and each leaves other gaps.
            heap.keep(plan.tile is None and not plan.short)
        kind = Objective if plan.tile is None else TiledObjective
        return kind(
            problem,
            plan,
            dtype=self.dtype,
            network_dtype=network_dtype,
            device=TF_DEVICES[self.device],
            xla=self.xla,
            xla_tv=self.device == "cpu" and problem.pixels >= XLA_PIXELS,
            winograd=self.winograd,
        )

    def ran_out_of_memory(self, error: BaseException) -> bool:
        """Return whether the error says that memory has run out, the host's or the device's."""
        return memory.ran_out(error)

    def workload(self, problem: protocol.Problem, tile: tiles.Tile | None = None) -> Workload:
        """Return what is timed of a problem."""
        return Workload(problem, self.objective(problem, tile))
