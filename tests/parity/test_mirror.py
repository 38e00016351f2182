"""The two backends are one house built twice: same files, same names, same parameters and defaults."""

import ast
import importlib.util
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from nst_spec import backend as backends
from tests.conftest import make_problem, smooth_image, takes_both

ROOT = Path(__file__).parents[2]
FILES = sorted(path.name for path in (ROOT / "nst_torch").glob("*.py"))


def test_the_backends_have_the_same_files():
    assert sorted(path.name for path in (ROOT / "nst_tf").glob("*.py")) == FILES
    assert set(FILES) == {
        "__init__.py",
        "network.py",
        "losses.py",
        "optimizers.py",
        "objective.py",
        "tiles.py",
        "memory.py",
        "backend.py",
        "bench.py",
        "winograd.py",
    }


def signatures(path):
    """Public functions, classes and methods, how a class is made and called among them, with parameters and defaults.

    Private helpers are a file's own.
    """
    found = {}
    tree = ast.parse(path.read_text())
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    for scope, body in [("", tree.body)] + [(node.name + ".", node.body) for node in classes]:
        for node in body:
            name = getattr(node, "name", "_")
            if name.startswith("_") and name not in ("__init__", "__call__"):
                continue
            if isinstance(node, ast.FunctionDef):
                arguments = node.args
                found[scope + node.name] = (
                    [argument.arg for argument in arguments.args],
                    [argument.arg for argument in arguments.kwonlyargs],
                    [ast.unparse(default) for default in (*arguments.defaults, *filter(None, arguments.kw_defaults))],
                )
            elif isinstance(node, ast.ClassDef):
                found[node.name] = "class"
    return found


# What one framework needs and the other does not, with the reason.
ALLOWED = {
    "network.py": {
        "Network.forward",  # torch.nn.Module calls forward; a plain class is called itself
        "Network.__call__",
        "Network.__init__",  # torch is told the device and the layout, TensorFlow whether XLA compiles
        "CompiledMaximum",  # Keras names a layer after its class, which must not begin with an underscore
        "CompiledMaximum.call",
    },
    "winograd.py": {
        "is_faster",  # TensorFlow's convolutions are oneDNN's or XLA's, and slower than this
        "Convolution",  # a layer of Keras' has its own call; torch's convolutions are one autograd.Function
        "Convolution.set_weights",
        "Convolution.call",
    },
    "memory.py": {"with_gradient"},  # what torch.autograd.Function does without keeping anything
    "objective.py": {
        "Recorded",  # a CUDA graph; TensorFlow has its own graphs
        "Recorded.__call__",
        "Objective.loss_and_gradient",  # TensorFlow's is an attribute, a tf.function
        "Objective.__init__",  # torch: recorded, exact; TensorFlow: xla, xla_tv
        "PixelMap.__init__",  # torch takes dtype and device from a tensor; TensorFlow's device is a scope
    },
}


@pytest.mark.parametrize("name", [name for name in FILES if name != "__init__.py"])
def test_public_names_parameters_and_defaults_agree(name):
    ours, theirs = (signatures(ROOT / package / name) for package in ("nst_torch", "nst_tf"))
    differing = {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)}
    assert differing == ALLOWED.get(name, set())
    assert ours


@pytest.mark.parametrize("name", backends.installed())
def test_a_backend_has_what_the_protocol_promises(name, narrow_weights):
    image = smooth_image(24, 24, 1)
    backend = backends.load(name, dtype="float64")
    problem = make_problem("udacity2018", narrow_weights, image, image)
    objective = backend.objective(problem)
    for kept, promise in (
        (backend, backends.Backend),
        (objective, backends.Objective),
        (objective.descent(image), backends.AdaptableDescent),
        # The oracle's speed is no question.
        *([(backend.workload(problem), backends.Workload)] if name in backends.PREFERENCE else []),
    ):
        promised = {*dir(promise), *typing.get_type_hints(promise)}
        missing = {name for name in promised if not name.startswith("_") and not hasattr(kept, name)}
        assert not missing, promise.__name__


def imported(module):
    code = f"import {module}, sys; print(sorted(set(sys.modules) & {{'torch', 'tensorflow', 'keras', 'torchvision'}}))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    "module",
    [
        "nst",
        "nst.api, nst.cli, nst.report, nst.rerun",
        "nst_spec.run, nst_spec.reference",
        "compare.session, compare.report, compare.table, compare.record, nst.pytest_plugin",
        "compare.bench, compare.bench_table, nst.cli_bench",
    ],
)
def test_no_framework_is_imported_before_a_backend_is_loaded(module):
    assert imported(module) == "[]"


def test_each_backend_imports_its_own_framework_alone(backend_name):
    frameworks = {"torch": ("torch", "tensorflow"), "tf": ("tensorflow", "torch")}
    code = (
        f"from nst_spec import backend; backend.load({backend_name!r}); import sys; "
        f"print({frameworks[backend_name][0]!r} in sys.modules, {frameworks[backend_name][1]!r} in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


@pytest.mark.parametrize("package", ["nst_spec", "compare", "nst"])
def test_the_neutral_packages_name_no_framework_in_their_imports(package):
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {n.partition(".")[0] for n in names} & {"torch", "torchvision", "tensorflow", "keras"}, path


@takes_both
def test_torchs_compiler_can_be_loaded_after_both_backends():
    code = "from nst_spec import backend; backend.load('torch'); backend.load('tf'); import torch._dynamo"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


@takes_both
def test_a_program_that_has_imported_both_frameworks_may_paint_with_torch():
    code = (
        "import torch, tensorflow, nst\n"
        "from nst import examples\n"
        "options = {'weights': 'embedded', 'size': 32, 'steps': 2}\n"
        "nst.stylize(examples.CONTENT, examples.STYLES['waves'], 'torch', **options)\n"
        "nst.stylize(examples.CONTENT, examples.STYLES['waves'], 'tf', **options)\n"
        "nst.stylize(examples.CONTENT, examples.STYLES['waves'], 'torch', **options)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


@takes_both
def test_the_order_that_would_abort_the_process_is_refused():
    code = (
        "from nst_spec import backend\n"
        "backend.load('tf')\n"
        "try:\n    backend.load('torch')\nexcept Exception as error:\n    print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    # Where torch comes without Triton, both orders work.
    assert done.returncode == 0
    refused = "NstError" in done.stdout and "import triton before tensorflow" in done.stdout
    assert refused == bool(importlib.util.find_spec("triton"))
