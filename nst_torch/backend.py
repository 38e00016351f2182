"""The protocol's door: devices, precision and switches, NumPy in and NumPy out."""

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nst_spec import backend as protocol
from nst_spec import cpu, heap, tiles
from nst_spec.settings import Precision, Settings
from nst_torch import memory, winograd
from nst_torch.bench import Workload
from nst_torch.objective import Objective
from nst_torch.tiles import TiledObjective

DTYPES = {"float32": torch.float32, "float64": torch.float64}
NETWORK_DTYPES = {"bf16": torch.bfloat16}
"""What the network computes in at a precision that is not the run's own dtype."""
RECORDED_PIXELS = (1024 + 64) ** 2
"""Content images of more pixels, a recipe's margin included, keep a GPU busy while the next kernel is started."""


def available_devices() -> tuple[str, ...]:
    """Return the devices that torch can use here, the fastest first."""
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return tuple(name for name, there in found.items() if there)


def gains_by_bf16(device: str) -> bool:
    """Return whether the device multiplies bfloat16 numbers faster than float32's."""
    if device == "cuda":
        # AMD's GPUs go by the same name, and count otherwise.
        return bool(torch.version.cuda) and torch.cuda.get_device_capability() >= protocol.BF16_CAPABILITY
    return device == "cpu" and cpu.gains_by_bf16()


def configure(threads: int | None, precision: Precision, deterministic: bool) -> None:
    """Set the process's switches: CPU threads, TensorFloat-32 (its error is about 1e-3), determinism.

    Without a number of threads there are as many as PyTorch has, or fewer where they would wait for CPUs.
    """
    _multiply(precision == "tf32")
    # cuDNN's convolutions and cuBLAS are all that this computation has of what may vary from run to run.
    torch.backends.cudnn.deterministic = deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the first handle is made
    own = torch.get_num_threads()
    threads = threads or min(own, cpu.count())
    if threads != own:
        torch.set_num_threads(threads)


def _multiply(tf32: bool) -> None:
    """Have float32 numbers multiplied as such, whatever was set before; in a GPU's convolutions in TF32 if asked."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    products.allow_tf32 = False  # Gram matrices and L-BFGS
    convolutions.allow_tf32 = tf32
    if not hasattr(torch.backends, "fp32_precision"):  # PyTorch before 2.9
        return
    # What the lines above leave open, a switch for all of them would decide.
    cpu_too = torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv
    for kind in (products, *cpu_too):
        kind.fp32_precision = "ieee"
    for kind in (convolutions.conv, convolutions.rnn):
        kind.fp32_precision = "tf32" if tf32 else "ieee"


class Backend(protocol.Configured):
    """PyTorch on a device, in a precision; nst_spec.backend.Backend."""

    name = "torch"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, available_devices(), gains_by_bf16)
        configure(settings.threads, self.precision, settings.deterministic)

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Leave the caller's inference mode and autocast, and switch gradients on; nst_spec.backend.Backend."""
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(self.device, enabled=False):
            yield

    def _takes_winograd(self, problem: protocol.Problem) -> bool:
        # Who wants the same bits every time does not want what a stopwatch chooses.
        may_choose = not torch.backends.cudnn.deterministic
        return may_choose and self.gains_by_winograd(problem) and winograd.is_faster()

    def versions(self) -> dict[str, str]:
        """Return the versions of torch, and of the GPU's software if it computes there."""
        found = {"torch": torch.__version__}
        if self.device == "cuda":
            if torch.version.cuda:
                found |= {"cuda": torch.version.cuda, "cudnn": str(torch.backends.cudnn.version())}
            else:
                found["rocm"] = str(torch.version.hip)
            found["gpu"] = torch.cuda.get_device_name()
        return found

    def switches(self) -> dict[str, int | bool | str]:
        """Return the switches as torch has them now."""
        return {
            "threads": torch.get_num_threads(),
            "tf32": torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32,
            "deterministic": torch.backends.cudnn.deterministic,
            "winograd": self.winograd,
        }

    def _workspace(self) -> int:
        return memory.DOUBLE_WORKSPACE if (self.device, self.dtype) == ("cpu", "float64") else memory.WORKSPACE

    def objective(self, problem: protocol.Problem, tile: tiles.Tile | None = None) -> Objective:
        """Return the problem with the network built and the targets computed."""
        memory.release(self.device)
        self.winograd = self._takes_winograd(problem)
        plan = self.planned(problem, tile, memory.free(self.device), self._workspace())
        problem = dataclasses.replace(problem, recipe=plan.adapted(problem.recipe))
        dtype = DTYPES[self.dtype]
        network_dtype = NETWORK_DTYPES.get(self.precision, dtype)
        if self.fast:
            # 15% off a step at 512 px.
            heap.keep(not plan.short)
        kind = Objective if plan.tile is None else TiledObjective
        recorded = self.fast and self.device == "cuda" and plan.tile is None and problem.pixels <= RECORDED_PIXELS
        device = torch.device(self.device)
        return kind(
            problem,
            plan,
            dtype=dtype,
            network_dtype=network_dtype,
            device=device,
            recorded=recorded,
            winograd=self.winograd,
            exact=not self.fast and self.is_single_on_cpu,
        )

    def ran_out_of_memory(self, error: BaseException) -> bool:
        """Return whether the error says that memory has run out, the host's or the device's."""
        return memory.ran_out(error)

    def workload(self, problem: protocol.Problem, tile: tiles.Tile | None = None) -> Workload:
        """Return what is timed of a problem."""
        return Workload(problem, self.objective(problem, tile))
