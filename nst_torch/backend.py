"""The protocol's door: devices, precision and switches, NumPy in and NumPy out."""

from nst_spec import backend as protocol
from nst_spec.errors import NstError
from nst_torch import check_import_order

check_import_order()

import torch  # noqa: E402
import torchvision  # noqa: E402

from nst_torch.objective import Objective  # noqa: E402

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def available_devices() -> tuple[str, ...]:
    """Return the devices that torch can use here, the fastest first."""
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return tuple(name for name, there in found.items() if there)


def configure(threads: int | None) -> None:
    """Set the number of CPU threads and switch TensorFloat-32 off: its error is about 1e-3."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    if threads is not None:
        torch.set_num_threads(threads)


class Backend:
    """PyTorch on a device, in a precision; nst_spec.backend.Backend."""

    name = "torch"

    def __init__(self, *, device: str = "auto", dtype: protocol.DType = "float32", threads: int | None = None) -> None:
        self.device = protocol.choose_device(device, available_devices(), backend=self.name)
        self.dtype = dtype
        if self.device == "mps" and dtype == "float64":
            raise NstError("device mps computes in float32 alone; use --dtype float32 or --device cpu")
        configure(threads)

    def versions(self) -> dict[str, str]:
        """Return the versions of torch and torchvision."""
        return {"torch": torch.__version__, "torchvision": torchvision.__version__}

    def objective(self, problem: protocol.Problem) -> Objective:
        """Return the problem with the network built and the targets computed."""
        return Objective(problem, dtype=DTYPES[self.dtype], device=torch.device(self.device))
