"""From the network in training to a weight set: convolutions with the normalisation folded in, float16."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nst_spec import vgg19
from nst_spec.weight_files import write_safetensors
from training.network import PREPROCESSING, Trainee


def folded(network: Trainee) -> dict[str, NDArray[np.float16]]:
    """Return the network as `conv1_1.weight` (OIHW), `conv1_1.bias`, ..., which do in one layer what two did.

    w = kernel * gamma / sqrt(variance + epsilon),  b = beta - mean * gamma / sqrt(variance + epsilon).
    """
    arrays: dict[str, NDArray[np.float16]] = {}
    for name, layer in network.layers.items():
        if name in vgg19.CONVOLUTIONS:
            convolution, norm = layer
            factor = norm.weight / (norm.running_var + norm.eps).sqrt()
            arrays[f"{name}.weight"] = _half(convolution.weight * factor[:, None, None, None])
            arrays[f"{name}.bias"] = _half(norm.bias - norm.running_mean * factor)
    return arrays


def _half(tensor: Tensor) -> NDArray[np.float16]:
    return tensor.detach().cpu().contiguous().numpy().astype(np.float16)


def export(network: Trainee, path: Path, record: Mapping[str, Any]) -> None:
    """Write the weights to a safetensors file whose header tells how they came to be."""
    header = {"preprocessing": PREPROCESSING, "training": json.dumps({**record, "commit": _commit()})}
    write_safetensors(path, folded(network), header)


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
