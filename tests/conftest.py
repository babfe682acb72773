"""Set-up for all tests: 4 virtual CPU devices, a compilation cache, shared data and helpers."""

import fcntl
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "JAX_NUM_CPU_DEVICES": "4",
    "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    # Four devices share two cores, so on a busy machine they reach a collective minutes apart. All
    # flags that a command would set are here, so that no command changes them for later tests.
    "XLA_FLAGS": "--xla_cpu_collective_call_terminate_timeout_seconds=600"
    " --xla_cpu_collective_call_warn_stuck_timeout_seconds=120"
    " --xla_cpu_experimental_ynn_fusion_type=",
}
os.environ.update(ENVIRONMENT)  # before JAX is imported
# A suite in the background may have been started with signals ignored, and would pass that on to
# the programs whose end by a signal is tested.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

import hypothesis  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from orbax.checkpoint import v1 as ocp  # noqa: E402

from kdgan_jax.data import photos, sources  # noqa: E402
from kdgan_jax.workdir import checkpoint  # noqa: E402
from kdgan_jax.workdir.metrics import read_metrics  # noqa: E402

# On a shared machine, the duration of an example means nothing.
hypothesis.settings.register_profile("kdgan_jax", deadline=None)
hypothesis.settings.load_profile("kdgan_jax")

SHARED = ROOT.parent / "shared" / "data"

# Halves the time to compile; tests against published outputs do without.
HASTE = {"xla_backend_optimization_level": 0}

# Arguments that make each generator small.
TINY = {
    "srcnn": {"channels": (8, 4)},
    "kdgan_student": {},
    "srresnet": {"channels": 8, "blocks": 1},
    "edsr": {"channels": 8, "blocks": 1},
    "compact": {"channels": 8, "depth": 2},
    "fsrcnn": {"channels": 8, "narrow": 4, "depth": 2},
    "espcn": {"channels": (8, 4)},
    "vdsr": {"channels": 8, "depth": 3},
    "rrdb": {"channels": 8, "blocks": 1, "growth": 4, "unshuffle": 1},
    "rcan": {"channels": 8, "groups": 1, "blocks": 1, "reduction": 4},
    "imdn": {"channels": 16, "blocks": 1},
    "pan": {"channels": 8, "last_channels": 6, "blocks": 1},
    "carn_m": {"channels": 8, "blocks": 1},
    "rlfn": {"channels": 8, "blocks": 1, "attention": 4},
    "bsrn": {"channels": 8, "blocks": 1},
    "vapsr": {"channels": 8, "blocks": 1, "attention": 12},
    "smfanet": {"channels": 8, "blocks": 1},
    "plainusr": {"channels": (8, 6, 4), "depth": 2, "attention": 3},
    "abpn": {"channels": 8, "depth": 2},
    "fast_srgan": {"channels": 8, "blocks": 1},
    "hit_srf": {"channels": 32, "groups": 1, "heads": 2, "windows": (4, 8, 16)},
}


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of benchmark sets and published weights; not every machine has it."""
    if not SHARED.is_dir():
        pytest.skip("there is no ../shared/data")
    return SHARED


def run_module(*arguments: object, check: bool = True) -> subprocess.CompletedProcess:
    """Runs `python -m ...` in the repository's root, as a user would."""
    return subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=check,
    )


def wait_for(condition, process, seconds=120):
    """Waits until `condition()` holds; fails if `process` ends first or after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end, f"not within {seconds} seconds"
        time.sleep(0.05)


def items(workdir: Path, phase: str, step: int = 4):
    """Returns all items of a checkpoint, as they are stored."""
    folder = workdir / "checkpoints" / phase / str(step)
    checkpoint.verify(folder)
    return {
        name: ocp.load_checkpointables(folder / "items")[name]
        for name in checkpoint.meta(folder)["items"]
    }


def losses(workdir: Path):
    """Returns the rows of metrics.jsonl without times and memory."""
    rows = read_metrics(workdir / "metrics.jsonl")
    other = "seconds", "memory"
    return [{k: v for k, v in row.items() if not k.startswith(other)} for row in rows]


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory) -> Path:
    """The workdir of a finished run of `configs/kd.py:scratch,smoke`; tests must not change it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # shared by all workers; the first one to need it starts the run
    workdir = folder / "smoke"
    with (folder / "smoke.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (workdir / "results.json").exists():
            config = "--config=configs/kd.py:scratch,smoke"
            result = run_module("kdgan_jax.main", config, f"--workdir={workdir}", check=False)
            assert result.returncode == 0, result.stderr
    return workdir


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """A real photo, (300, 451, 3) uint8."""
    (cat,) = sources.installed(["skimage/data/chelsea.png"], 1)
    return photos.pixels(cat.hr)


@pytest.fixture
def key():
    """A fixed JAX key."""
    import jax

    return jax.random.key(0)


@pytest.fixture(autouse=True)
def _logging():
    """Takes back what commands change: the log handlers, and the level.

    The level is the one of a fresh process, since a fixture of the module may have run a command.
    """
    root, log = logging.getLogger(), logging.getLogger("kdgan_jax")
    handlers = root.handlers[:]
    yield
    root.handlers[:] = handlers
    log.setLevel(logging.NOTSET)
