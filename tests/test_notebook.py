"""The notebook: it runs whole, loads every kind of run, and is kept clean."""

import base64
import io
import json
import re
import runpy
import shutil
import subprocess
import sys
import types
import zipfile
from os import environ
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from jax import tree
from PIL import Image

import kdgan_jax
from kdgan_jax.train import run as training
from kdgan_jax.workdir import checkpoint

NOTEBOOK = ROOT / "notebooks/colab.ipynb"
# A few steps on small pictures.
SHORT = {
    "data.complement": 0,
    "data.copies": 1,
    "data.crop": 16,
    "train.distill.batch": 4,
    "train.distill.lr_patch": 8,
    "train.distill.steps": 4,
}


def cells(kind="code"):
    return [c for c in json.loads(NOTEBOOK.read_text())["cells"] if c["cell_type"] == kind]


def code(part):
    """Returns the one code cell that has `part` in it."""
    (found,) = [source for c in cells() if part in (source := "".join(c["source"]))]
    return found


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, photo):
    """A folder of five small pictures, one of them turned by its EXIF."""
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(5):
        turned = Image.Exif()
        turned[0x0112] = 6 if i == 4 else 1
        Image.fromarray(photo[40 * i :][:40, :60]).save(folder / f"{i}.png", exif=turned)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory, pictures):
    """Returns a tiny run in all forms that the notebook loads, by name."""
    folder = tmp_path_factory.mktemp("runs")
    config = runpy.run_path(str(ROOT / "configs/own.py"))["get_config"]("smoke")
    config.data.source = str(pictures)
    training.run(config, folder / "tiny")
    phase = shutil.copytree(folder / "tiny/checkpoints/distill", folder / "distill")
    zips = {}
    for name, root, base in (
        ("zip", folder / "tiny", "."),
        ("zip of a folder", folder, "tiny"),
        ("zip of a phase", folder, "distill"),
    ):
        zips[name] = shutil.make_archive(str(folder / name), "zip", root, base)
    return {"workdir": folder / "tiny", "phase": phase, **zips}


def edited(**parameters):
    """Returns the notebook with other values in its cell of parameters."""
    nbformat = pytest.importorskip("nbformat", reason="the test extra has nbformat")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    lines = cell.source.splitlines()
    assert parameters.keys() <= {line.partition(" = ")[0] for line in lines}
    cell.source += "".join(f"\n{name} = {value!r}" for name, value in parameters.items())
    notebook.cells.append(nbformat.v4.new_code_cell("print('from', kdgan_jax.__file__)"))
    return notebook


def executed(notebook, folder, monkeypatch):
    """Runs a notebook in a kernel of its own in `folder` and returns it with its outputs."""
    nbclient = pytest.importorskip("nbclient", reason="the test extra has nbclient")
    pytest.importorskip("ipykernel", reason="the test extra has ipykernel")
    # What is installed goes into a folder of its own, and stands before the checkout. A folder that
    # is not there when Python starts is never searched.
    (folder / "installed").mkdir()
    monkeypatch.setenv("PIP_TARGET", str(folder / "installed"))
    monkeypatch.setenv("PIP_NO_DEPS", "1")
    monkeypatch.setenv("PYTHONPATH", str(folder / "installed"))
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "2")
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    resources = {"metadata": {"path": str(folder)}}
    return nbclient.NotebookClient(notebook, timeout=600, resources=resources).execute()


def texts(notebook):
    """Returns everything that the notebook prints and tells."""
    outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    return "\n".join(
        o.get("text", "") + o.get("data", {}).get("text/markdown", "") for o in outputs
    )


def images(notebook, part):
    """Returns the images that the code cell with `part` in it shows, and those in its HTML."""
    (cell,) = [c for c in notebook.cells if c.cell_type == "code" and part in c.source]
    data = [output.data for output in cell.outputs if "data" in output]
    found = [one["image/png"] for one in data if "image/png" in one]
    for one in data:
        found += re.findall(r"data:image/png;base64,([^\"]+)", one.get("text/html", ""))
    decoded = [Image.open(io.BytesIO(base64.b64decode(png))) for png in found]
    return [np.asarray(image.convert("RGB")) for image in decoded]


def test_runs_whole(tmp_path, runs, pictures, monkeypatch):
    # The wheel that CI has built; without one, the checkout is installed already.
    wheel = environ.get("KDGAN_WHEEL")
    notebook = executed(
        edited(
            PACKAGE=str(Path(wheel).resolve()) if wheel else "",
            RUN=str(runs["zip"]),
            PICTURES=str(pictures),
            MINUTES=0,
            CHANGES=SHORT,
        ),
        tmp_path,
        monkeypatch,
    )
    out = tmp_path / "kdgan"
    sizes = {p.name: Image.open(p).size for p in (out / "enlarged").iterdir()}
    assert sizes == {f"{i}.png.png": (160, 240) if i == 4 else (240, 160) for i in range(5)}

    before, after = images(notebook, "def slider")
    assert before.shape == after.shape == (156, 156, 3)
    assert not np.array_equal(before, after)
    assert abs(before.astype(int) - after).mean() < 30
    (beside,) = images(notebook, "def compare")
    (at_end,) = images(notebook, '"trained on"')
    assert at_end.shape[1] > beside.shape[1] > 2 * beside.shape[0]
    curves, sheet = images(notebook, "def show")
    assert curves.std() > 5
    assert sheet.std() > 5
    assert len(images(notebook, "show(trained)")) == 2

    said = texts(notebook)
    for fact in "loaded run: compact at x4, 4,328 parameters", "| student |", "| teacher |":
        assert fact in said
    package = tmp_path / "installed" if wheel else ROOT
    assert f"from {package / 'kdgan_jax/__init__.py'}" in said

    # The student goes on from the loaded run: four steps move weights by little.
    loaded = kdgan_jax.load(runs["workdir"])
    trained = kdgan_jax.load(out / "trained/student.safetensors")
    assert (trained.name, trained.kwargs) == (loaded.name, loaded.kwargs)
    moved = tree.map(lambda a, b: abs(a - b).max(), loaded.params, trained.params)
    assert 0 < max(tree.leaves(moved)) < 0.02
    # What is saved can be loaded.
    again = kdgan_jax.load(out / "trained.zip")
    assert tree.all(tree.map(np.array_equal, again.params, trained.params))
    saved = zipfile.ZipFile(out / "trained.zip").namelist()
    assert "trained/student.md" in saved
    assert not any("labels" in Path(name).parts for name in saved)


@pytest.mark.long
def test_minutes_are_planned_and_pictures_are_examples_by_default(tmp_path, monkeypatch):
    # A small teacher and small batches, so that the minutes are enough on a busy machine.
    small = {"train.distill.batch": 4, "train.distill.lr_patch": 16, "data.crop": 48}
    changed = edited(MINUTES=5, TEACHER="clean_x4", CHANGES=small)
    notebook = executed(changed, tmp_path, monkeypatch)
    out = tmp_path / "kdgan"
    assert [p.name for p in (out / "enlarged").iterdir()] == ["chelsea.png.png"]
    assert json.loads((out / "trained/plan.json").read_text())["minutes"] == 5
    rows = json.loads((out / "trained/results.json").read_text())["rows"]
    psnr = {r["model"]: r["psnr_y"] for r in rows if r["reference"] == "teacher"}
    assert psnr["student"] > psnr["bicubic"] + 1
    assert len(images(notebook, "show(trained)")) == 2


def variables(tmp_path, **parameters):
    """Returns the variables of the notebook after its imports."""
    pytest.importorskip("IPython", reason="the test extra has ipykernel")
    names = {}
    exec(code("PACKAGE ="), names)
    names |= {"OUT": str(tmp_path / "out"), **parameters}
    exec(code("requirement ="), names)
    exec(code("import kdgan_jax"), names)
    return names


def test_what_is_installed_is_never_a_name_in_a_registry(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    program = tmp_path / "nvidia-smi"
    (tmp_path / "kdgan_jax").mkdir()
    address = "https://example.org/kdgan_jax.whl"
    for code_of_gpus, extras in (9, "train"), (0, "train,cuda12"):
        program.write_text(f"#!/bin/sh\nexit {code_of_gpus}\n")
        program.chmod(0o755)
        for given, expected in (
            ("", ""),
            ("kdgan_jax", f"{tmp_path / 'kdgan_jax'}[{extras}]"),
            (address, f"kdgan_jax[{extras}] @ {address}"),
        ):
            assert variables(tmp_path, PACKAGE=given)["requirement"] == expected
    with pytest.raises(FileNotFoundError, match=r"other\.whl"):
        variables(tmp_path, PACKAGE="other.whl")


@pytest.mark.parametrize("kind", ["workdir", "phase", "zip", "zip of a folder", "zip of a phase"])
def test_every_kind_of_run_is_loaded(tmp_path, runs, kind, monkeypatch):
    monkeypatch.setattr("tempfile.mkdtemp", lambda: str(tmp_path / "unpacked"))
    names = variables(tmp_path, RUN=str(runs[kind]))
    exec(code("archive.extract"), names)
    params = kdgan_jax.load(runs["workdir"]).params
    assert tree.all(tree.map(np.array_equal, names["models"]["loaded run"].params, params))
    assert kdgan_jax.load(names["start"]).parameters == 4328  # where training goes on
    whole = kind not in ("phase", "zip of a phase")
    assert (Path(names["run"]) / "metrics.jsonl").is_file() == whole


def test_newest_intact_checkpoint_of_a_phase_is_loaded(tmp_path, runs):
    phase = shutil.copytree(runs["phase"], tmp_path / "phase")
    (step,) = checkpoint.steps(phase)
    shutil.copytree(phase / str(step), phase / str(step + 1))
    (phase / str(step + 1) / "meta.json").unlink()
    names = variables(tmp_path, RUN=str(phase))
    exec(code("archive.extract"), names)
    assert names["start"] == str(phase / str(step))


def test_in_colab_pictures_are_uploaded_and_the_run_is_downloaded(tmp_path, pictures, monkeypatch):
    done = []
    uploads = {"a.png": (pictures / "0.png").read_bytes()}
    colab = types.SimpleNamespace(
        drive=types.SimpleNamespace(mount=done.append),
        files=types.SimpleNamespace(upload=lambda: uploads, download=done.append),
    )
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    names = variables(tmp_path, DRIVE=True, SAVE_TO=str(tmp_path))
    exec(code("files.upload"), names)
    assert [p.name for p in names["paths"]] == ["a.png"]
    names["trained"] = tmp_path / "out/trained"
    names["trained"].mkdir()
    (names["trained"] / "student.md").write_text("# student")
    exec(code("files.download"), names)
    assert done == ["/content/drive", str(tmp_path / "trained.zip")]


def ruff(*arguments):
    command = [sys.executable, "-m", "ruff", *map(str, arguments)]
    config = f"--config={ROOT / 'pyproject.toml'}"
    return subprocess.run([*command, config, "--no-cache"], capture_output=True, text=True)


def test_code_is_linted(tmp_path):
    pytest.importorskip("ruff", reason="the test extra has ruff")
    for arguments in ("check",), ("format", "--check"):
        result = ruff(*arguments, NOTEBOOK)
        assert result.returncode == 0, result.stdout
    notebook = json.loads(NOTEBOOK.read_text())
    notebook["cells"][-1]["source"] = ["print(no_such_name)"]
    (tmp_path / "wrong.ipynb").write_text(json.dumps(notebook))
    assert "no_such_name" in ruff("check", tmp_path / "wrong.ipynb").stdout


def test_outputs_are_stripped():
    assert all(c["outputs"] == [] and c["execution_count"] is None for c in cells())
    assert len(cells("markdown")) >= len(cells()) // 2
