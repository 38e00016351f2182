"""What may be asked of a backend: which one, and how it is to compute. Nothing heavy is imported for it."""

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Literal, get_args

from nst_spec import tiles
from nst_spec.errors import NstError, not_accepted

DType = Literal["float32", "float64"]
DTYPES: tuple[DType, ...] = get_args(DType)
Precision = Literal["fp32", "tf32", "bf16"]
AUTO = "auto"
PRECISIONS = (AUTO, *get_args(Precision))
"""How a float32 run multiplies inside the network; AUTO is bf16 where the device gains by it, else fp32. With bf16 the
first convolution multiplies in float32, since an image has more digits than bfloat16, and what it gives is rounded
as every other layer is. Losses and the image are always float32; Gram matrices and what L-BFGS multiplies are too,
except with tf32 in TensorFlow, whose switch is for every product."""
DEVICES = (AUTO, "cpu", "cuda", "mps")
MOST_THREADS = 4096


def backends() -> dict[str, EntryPoint]:
    """Return all backends by name, installed framework or not."""
    return {entry.name: entry for entry in sorted(entry_points(group="nst.backends"), key=lambda entry: entry.name)}


@dataclass(frozen=True)
class Settings:
    """How a backend is asked to compute; NstError naming what is accepted where a value is not.

    `device` is one of DEVICES, `dtype` one of DTYPES, `precision` one of PRECISIONS, `threads` the number of CPU
    threads (None: the framework's own number, or nst_spec.cpu.count if that is less; TensorFlow's environment may say
    more), `deterministic` whether the framework must give the same bits every time, `fast` whether it may do what is
    faster: round otherwise, by Winograd's algorithm or, in TensorFlow, by oneDNN or XLA, and keep what memory it has
    freed. `precision`, `threads` and `deterministic` are settings of the whole process, and `precision` counts when
    the framework is first imported. `tile` is what nst_spec.tiles.checked accepts.
    """

    device: str = AUTO
    dtype: DType = "float32"
    precision: str = "fp32"
    threads: int | None = None
    deterministic: bool = False
    fast: bool = False
    tile: tiles.Tile = "auto"

    def __post_init__(self) -> None:
        for what, accepted in {"device": DEVICES, "dtype": DTYPES, "precision": PRECISIONS}.items():
            if getattr(self, what) not in accepted:
                raise not_accepted(what, getattr(self, what), accepted)
        is_whole = isinstance(self.threads, int) and not isinstance(self.threads, bool)
        if self.threads is not None and not (is_whole and 1 <= self.threads <= MOST_THREADS):
            raise NstError(f"threads: expected 1 to {MOST_THREADS}, received {self.threads!r}")
        for what in ("deterministic", "fast"):
            if not isinstance(getattr(self, what), bool):
                raise NstError(f"{what}: expected True or False, received {getattr(self, what)!r}")
        object.__setattr__(self, "tile", tiles.checked(self.tile))
