"""Memory as PyTorch has it: what is free, what an error says, what can be given back."""

import torch

from nst_spec import heap
from nst_spec.memory import free_on_host

WORKSPACE = 6
"""Arrays as large as the largest layer that a backward pass takes beside what the forward pass has kept."""
DOUBLE_WORKSPACE = 14
"""The same for float64 on a CPU, where a convolution lays out all its windows, nine times a layer."""
SHORT_OF_MEMORY = (
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "out of memory",
    "bad_alloc",
    "alloc_failed",
    "invalid buffer size",
    "could not create a primitive",
    "could not create a memory",
)
"""What the RuntimeErrors say that a CPU's allocator, an MPS device and the libraries beneath raise; the last two are
oneDNN's."""


def free(device: str) -> int:
    """Return the bytes that are free on a device, those included that PyTorch holds in stock."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated())
    if device == "mps":
        # The memory is the host's, too, and others may have taken of it.
        own = int(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
        return min(own, free_on_host())
    return free_on_host()


def release(device: str) -> None:
    """Give back what nothing refers to any more."""
    heap.give_back()
    if device == "cuda":
        torch.cuda.empty_cache()
    elif device == "mps":
        torch.mps.empty_cache()


def ran_out(error: BaseException) -> bool:
    """Return whether the error says that memory has run out, the host's or the device's."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in SHORT_OF_MEMORY)
