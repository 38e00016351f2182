"""The protocol's door: devices, precision and switches, NumPy in and NumPy out."""

from nst_spec import backend as protocol
from nst_spec.errors import NstError
from nst_tf import importing

with importing():
    import keras
    import tensorflow as tf

from nst_tf.objective import Objective

TF_DEVICES = {"cpu": "/CPU:0", "cuda": "/GPU:0", "mps": "/GPU:0"}


def available_devices() -> tuple[str, ...]:
    """Return the devices that TensorFlow can use here, the fastest first."""
    has_gpu = bool(tf.config.list_physical_devices("GPU"))
    found = {"cuda": has_gpu and tf.test.is_built_with_cuda(), "mps": False, "cpu": True}
    found["mps"] = has_gpu and not found["cuda"]
    return tuple(name for name, there in found.items() if there)


def configure(threads: int | None) -> None:
    """Set the number of CPU threads, switch TensorFloat-32 off (its error is about 1e-3), share the GPU's memory."""
    tf.config.experimental.enable_tensor_float_32_execution(False)
    # Each scale of a run is traced once, on purpose; TensorFlow would warn of it.
    tf.get_logger().setLevel("ERROR")
    try:
        for gpu in tf.config.list_physical_devices("GPU"):
            if not tf.config.experimental.get_memory_growth(gpu):
                tf.config.experimental.set_memory_growth(gpu, True)
        if threads is not None and threads != tf.config.threading.get_intra_op_parallelism_threads():
            tf.config.threading.set_intra_op_parallelism_threads(threads)
    except RuntimeError as error:
        raise NstError(
            f"TensorFlow is already running in this process, too late for threads or memory settings: {error}"
        ) from error


class Backend:
    """TensorFlow on a device, in a precision; nst_spec.backend.Backend."""

    name = "tf"

    def __init__(self, *, device: str = "auto", dtype: protocol.DType = "float32", threads: int | None = None) -> None:
        if keras.backend.backend() != "tensorflow":
            raise NstError(f"Keras runs on {keras.backend.backend()} here; set KERAS_BACKEND=tensorflow and try again")
        self.device = protocol.choose_device(device, available_devices(), backend=self.name)
        self.dtype = dtype
        if self.device == "mps" and dtype == "float64":
            raise NstError("device mps computes in float32 alone; use --dtype float32 or --device cpu")
        configure(threads)

    def versions(self) -> dict[str, str]:
        """Return the versions of tensorflow and keras."""
        return {"tensorflow": tf.__version__, "keras": keras.__version__}

    def objective(self, problem: protocol.Problem) -> Objective:
        """Return the problem with the network built and the targets computed."""
        return Objective(problem, dtype=self.dtype, device=TF_DEVICES[self.device])
