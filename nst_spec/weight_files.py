"""Files that hold VGG19's weights: a reader for every public format, and the one format that is written.

Every reader returns the arrays under the spec's names, kernels as (out, in, 3, 3), and the preprocessing that the
file is known to expect, or None when nothing in the file says it.
"""

import hashlib
import importlib.util
import io
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save

from nst_spec import files, vgg19
from nst_spec.errors import NstError, install, not_accepted, reason
from nst_spec.preprocessing import space_named

Arrays = dict[str, NDArray[np.float32]]
_Read = tuple[dict[str, Any], str | None]

_PARALLEL = "module."
"""What DataParallel puts before every name."""

_FEATURE = re.compile(rf"(?:{re.escape(_PARALLEL)})?(?:features\.)?(\d+)\.(weight|bias)")
"""A convolution's array in torchvision's numbering: of the whole model, or of its `features` alone."""

_CLASSIFIER = "classifier."

# The two scripts run in a process of their own, as `_read_apart` says: `library` is imported already, `source` is the
# file, and they leave `arrays`.
_TORCH = f"""
class NoStateDict(Exception):
    pass
try:
    loaded = library.load(source, map_location="cpu", weights_only=True)
except Exception as error:
    raise NoStateDict("it is damaged, or holds more than tensors, which is never loaded since it may run code; save "
                      f"the model's state_dict() ({{type(error).__name__}})")
if not isinstance(loaded, dict):
    raise NoStateDict(f"it holds a {{type(loaded).__name__}}; save the model's state_dict()")
loaded = loaded.get("state_dict", loaded)
arrays = {{name: value.detach().to(library.float32).numpy() for name, value in loaded.items()
          if library.is_tensor(value) and value.is_floating_point() and not name.startswith({_CLASSIFIER!r})}}
"""
_MATCONVNET = """
arrays = {}
for cell in library.loadmat(source, variable_names=["layers"])["layers"].ravel():
    layer = cell.ravel()[0]
    name = str(layer["name"].ravel()[0])
    if name.startswith("conv"):
        new = "weights" in layer.dtype.names
        kernel, bias = layer["weights"].ravel()[:2] if new else (layer["filters"], layer["biases"])
        arrays[name + ".weight"], arrays[name + ".bias"] = kernel, bias.ravel()
"""
_APART = """
import sys
try:
    import importlib
    import numpy
    from safetensors.numpy import save_file
    source, target, library, script = sys.argv[1:]
    left = {"source": source, "library": importlib.import_module(library)}
    exec(script, left)
    save_file({name: numpy.ascontiguousarray(array) for name, array in left["arrays"].items()}, target)
except Exception as error:
    sys.exit(f"{type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0]}")
"""

SAFETENSORS = ".safetensors"


def sha256_of(arrays: Mapping[str, NDArray[np.float32]]) -> str:
    """Return the SHA-256, in hexadecimal, of a weight set: every name and its little-endian float32 bytes, in network
    order. The same weights have the same hash, whatever file they came from.
    """
    digest = hashlib.sha256()
    for name in _network_order(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name], "<f4").tobytes())
    return digest.hexdigest()


def check_readable(path: Path) -> None:
    """Raise NstError if no file called `path` could be read here: an unknown format, or PyTorch's without PyTorch."""
    if path.suffix.lower() not in READERS:
        raise not_accepted(f"{path}: format of a weights file", path.suffix, READERS)
    if READERS[path.suffix.lower()] is _read_torch and importlib.util.find_spec("torch") is None:
        raise NstError(
            f"{path}: a PyTorch checkpoint is read by PyTorch, which is not installed here. Ways on: "
            f"{install('torch')}, or make a .safetensors of the file with `nst weights convert` where PyTorch is "
            "installed, and use that"
        )


def read(path: Path) -> tuple[Arrays, str | None]:
    """Read the weights of a VGG19, of any width, from a file in any known format.

    Args:
        path: the file; its extension names the format, one of READERS.

    Returns:
        The float32 arrays (kernels OIHW) in network order, and the preprocessing, None if the file does not say.

    Raises:
        NstError: naming the file and what is wrong with it.
    """
    check_readable(path)
    if not os.path.isfile(path):
        raise NstError(f"{path}: there is no such file")
    try:
        arrays, preprocessing = READERS[path.suffix.lower()](path)
        if preprocessing is not None:
            space_named(preprocessing)
        return _checked(arrays), preprocessing
    except NstError as error:
        raise NstError(f"{path}: {error}") from error
    except Exception as error:  # A damaged file makes the libraries below raise nearly anything.
        raise NstError(f"{path}: {_unreadable(path, reason(error))}") from error


def write(path: Path, arrays: Mapping[str, NDArray[np.float32]], header: Mapping[str, str]) -> None:
    """Write arrays to a safetensors file whose header holds `header` and the arrays' hash; whole or not at all.

    Raises:
        NstError: if the extension is not .safetensors, or the file cannot be written.
    """
    write_safetensors(path, arrays, {**header, "sha256": sha256_of(arrays)})


def write_safetensors(path: Path, arrays: Mapping[str, NDArray[Any]], header: Mapping[str, str]) -> None:
    """Write any arrays and a header to a safetensors file; whole or not at all.

    Raises:
        NstError: if the extension is not .safetensors, or the file cannot be written.
    """
    if path.suffix.lower() != SAFETENSORS:
        raise not_accepted(f"{path}: format of the file to write", path.suffix, [SAFETENSORS])
    try:
        with files.whole(path) as part:
            part.write_bytes(save(dict(arrays), dict(header)))
    except OSError as error:
        raise NstError(f"{path}: cannot be written: {reason(error)}") from error


def _unreadable(path: Path, why: str) -> str:
    return f"cannot be read as a {path.suffix.lower()} file of weights: {why}"


def _network_order(names: Iterable[str]) -> list[str]:
    present = set(names)
    return [name for name in vgg19.weight_names() if name in present]


def _checked(arrays: Mapping[str, Any]) -> Arrays:
    """Return the arrays of the convolutions as float32, in network order; raises NstError unless they are one VGG19."""
    names = _network_order(arrays)
    if not names:
        raise NstError(f"holds no convolution of VGG19; its arrays: {', '.join(sorted(arrays)[:4]) or 'none'}")
    checked: Arrays = {}
    for name in names:
        array = np.asarray(arrays[name])
        if array.dtype.kind != "f":
            raise NstError(f"{name}: expected floating-point numbers, received {array.dtype}")
        checked[name] = np.ascontiguousarray(array, np.float32)
        if not np.isfinite(checked[name]).all():
            raise NstError(f"{name}: holds numbers that are not finite")
    vgg19.widths_of(checked)
    return checked


def _spec_names(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arrays of a torchvision-style state dict (`features.N.weight`, `N.weight`) under the spec's names;
    those of any other come back as they are.
    """
    if not any(_FEATURE.fullmatch(name) for name in arrays):
        return {name.removeprefix(_PARALLEL): array for name, array in arrays.items()}
    convolutions = {vgg19.torchvision_index(name): name for name in vgg19.CONVOLUTIONS}
    renamed = {}
    for name, array in arrays.items():
        if match := _FEATURE.fullmatch(name):
            index = int(match[1])
            if index not in convolutions:  # VGG11, 13, 16 and those with batch normalisation begin like a VGG19
                raise NstError(f"{name} has no place in VGG19: the file is another network's")
            renamed[f"{convolutions[index]}.{match[2]}"] = array
    return renamed


def _oihw(kernel: Any) -> NDArray[Any]:
    """Return a kernel (height, width, in, out) as (out, in, height, width)."""
    return np.transpose(np.asarray(kernel), (3, 2, 0, 1))


def _read_keras(source: Path | BinaryIO) -> _Read:
    """Read a Keras weights file: a group per layer, which holds a kernel (H, W, in, out) and a bias at some depth.

    The names below the group changed over the years (`block1_conv1/block1_conv1_W_1:0`,
    `block1_conv1/block1_conv1/kernel:0`, `conv2d/vars/0`), the shapes never did: the kernel is the one with four
    dimensions. A `.weights.h5` of Keras 3 numbers its convolutions in the model's order, `layers/conv2d`,
    `layers/conv2d_1`, ...; older files have the layers' names. The input stays in the order stored, BGR. Source:
    keras.applications.vgg19, keras.src.saving.saving_lib.
    """
    import h5py  # imported where needed: a run that reads another format does not wait for it

    arrays = {}
    with h5py.File(source, "r") as file:
        if "layers" in file:
            root = file["layers"]
            groups = ["conv2d", *(f"conv2d_{number}" for number in range(1, len(vgg19.CONVOLUTIONS)))]
        else:
            root = file.get("model_weights", file)  # a whole saved model, or its weights only
            groups = [vgg19.keras_name(name) for name in vgg19.CONVOLUTIONS]
        for name, group in zip(vgg19.CONVOLUTIONS, groups, strict=True):
            for dataset in _datasets(root[group]) if group in root else ():
                arrays[f"{name}.weight" if dataset.ndim > 1 else f"{name}.bias"] = (
                    _oihw(dataset[()]) if dataset.ndim == 4 else dataset[()]
                )
        if not arrays:
            raise NstError(
                f"holds no layer called {vgg19.keras_name(vgg19.CONVOLUTIONS[0])}; it holds {list(root)[:4]}"
            )
    return arrays, "caffe"


def _read_keras_archive(path: Path) -> _Read:
    """Read a whole model of Keras 3: an archive with a `.weights.h5` in it. Source: keras.src.saving.saving_lib."""
    with zipfile.ZipFile(path) as archive:
        return _read_keras(io.BytesIO(archive.read("model.weights.h5")))


def _datasets(group: Any) -> list[Any]:
    found: list[Any] = []
    group.visititems(lambda _, item: found.append(item) if hasattr(item, "ndim") else None)
    return found


def _read_apart(path: Path, library: str, script: str) -> dict[str, Any]:
    """Return the arrays that a script reads from a file with a library, in a process of its own.

    nst_spec imports no framework, and PyTorch beside TensorFlow may abort a process; SciPy, on a damaged .mat file, may
    take the process with it.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "arrays.safetensors")
        # -P: no module of the current folder may pose as torch or scipy
        command = [sys.executable, "-P", "-c", _APART, str(path), str(target), library, script]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            said = done.stderr.strip().splitlines()
            why = said[-1] if said and done.returncode == 1 else f"the reader died, exit status {done.returncode}"
            raise NstError(_unreadable(path, why))
        arrays, _ = _tensors(target)
    return arrays


def _read_torch(path: Path) -> _Read:
    """Read a PyTorch checkpoint, zip or legacy, of plain tensors.

    `conv1_1.weight` names are those of Gatys' `vgg_conv.pth`, which takes BGR in 0-255 less the mean. `features.N`
    names say nothing: torchvision's own file wants ImageNet-normalised RGB, jcjohnson's vgg19-d01eb7cb.pth the other.
    """
    arrays = _read_apart(path, "torch", _TORCH)
    says_nothing = any(_FEATURE.fullmatch(name) for name in arrays)
    return _spec_names(arrays), None if says_nothing else "caffe"


def _read_matconvnet(path: Path) -> _Read:
    """Read MatConvNet's `imagenet-vgg-verydeep-19.mat`: `layers{i}` with `name` and `weights{1, 2}`, or, in the first
    releases, `filters` and `biases`. Kernels are (H, W, in, out), biases a row or a column.

    Source: MatConvNet, utils/import-caffe.py.
    """
    arrays = {
        name: _oihw(array) if array.ndim == 4 else array
        for name, array in _read_apart(path, "scipy.io", _MATCONVNET).items()
    }
    # The importer turned the Caffe network's BGR input into RGB. Turned back it is the network that Keras and Gatys
    # have, with the same preprocessing and the same hash.
    first = f"{vgg19.CONVOLUTIONS[0]}.weight"
    if first in arrays:
        arrays[first] = arrays[first][:, ::-1]
    return arrays, "caffe"


def _read_npz(path: Path) -> _Read:
    """Read a NumPy archive of `conv1_1.weight` ... and, if it has one, a string called `preprocessing`."""
    if not zipfile.is_zipfile(path):
        raise NstError("is no .npz archive")
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files if name != "preprocessing"}
        preprocessing = str(file["preprocessing"][()]) if "preprocessing" in file.files else None
    return _spec_names(arrays), preprocessing


def _read_safetensors(path: Path) -> _Read:
    """Read a safetensors file; the header may hold `preprocessing`, and the `sha256` that `write` put there."""
    stored, header = _tensors(path)
    arrays = _spec_names(stored)
    if "sha256" in header and sha256_of(_checked(arrays)) != header["sha256"]:
        raise NstError("is damaged: its weights do not have the hash that its header gives")
    return arrays, header.get("preprocessing")


def _tensors(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the arrays of a safetensors file, but for a classifier's, and its header."""
    with safe_open(path, framework="numpy") as file:
        stored = file.keys()
        tensors = {name: file.get_tensor(name) for name in stored if not name.startswith(_CLASSIFIER)}
        return tensors, file.metadata() or {}


READERS: dict[str, Callable[[Path], _Read]] = {
    ".safetensors": _read_safetensors,
    ".h5": _read_keras,
    ".hdf5": _read_keras,
    ".keras": _read_keras_archive,
    ".pth": _read_torch,
    ".pt": _read_torch,
    ".mat": _read_matconvnet,
    ".npz": _read_npz,
}
"""The formats, by extension."""
