"""What runs a network: JAX, or ONNX Runtime, which takes any size at once and suits most CPUs.

"auto" takes ONNX Runtime if JAX would run on a CPU, if the network has a file for images of any
size, and if its outputs are JAX's. The last is tried once for each network on each machine; the
answer and the files are kept in the user's cache folder.
"""

import contextlib
import functools
import hashlib
import json
import platform
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np

from kdgan_jax.formats.weights import Weights
from kdgan_jax.onnx import program
from kdgan_jax.onnx.program import Form
from kdgan_jax.runtime import devices, files
from kdgan_jax.runtime.console import log
from kdgan_jax.runtime.errors import UserError, pick

AUTO, ONNX, JAX = "auto", "onnxruntime", "jax"
NAMES = AUTO, ONNX, JAX
CLOSE = 1e-4  # largest difference from JAX, of the range of images
HALF_A_LEVEL = 0.5 + 255 * CLOSE  # by which rounding to bytes may change a number
SIDE = 48  # of the image with which outputs are compared, in LR pixels
MOST_BYTES = 2**30  # of all files in the cache folder

Run = Callable[[np.ndarray], np.ndarray]


def checked(name: str) -> str:
    """Returns the name of an engine.

    Raises:
      UserError: there is no such engine.
    """
    pick(dict.fromkeys(NAMES), name, "engine")
    return name


def chosen(name: str, weights: Weights, with_jax: Run) -> str:
    """Returns what runs a network: `ONNX` or `JAX`.

    Args:
      name: `AUTO`, or the one that the user wants.
      weights: the network.
      with_jax: maps LR (h, w, 3) uint8 to SR in float32, by JAX.

    Raises:
      UserError: ONNX Runtime is wanted and cannot run the network.
    """
    if name == JAX or (name == AUTO and not devices.on_cpu()):
        return JAX
    try:
        program.check(weights, Form())
        import onnxruntime  # noqa: F401
    except (ImportError, UserError) as error:
        if name == ONNX:
            raise UserError(f"engine=onnxruntime: {error}; choose engine=jax") from None
        return JAX
    difference = _difference(weights, with_jax)
    if difference <= CLOSE:
        return ONNX
    off = f"ONNX Runtime's output is off by {difference:.1g} of the range"
    problem = f"{weights.name}: {off if np.isfinite(difference) else 'ONNX Runtime cannot run it'}"
    if name == ONNX:
        raise UserError(f"engine=onnxruntime: {problem}; choose engine=jax")
    log.warning("%s; JAX runs it", problem)
    return JAX


def described(engine: str) -> str:
    """Returns an engine with its version and what it runs on, such as "jax 0.10.2 on cpu"."""
    return f"{engine} {metadata.version(engine)} on {'cpu' if engine == ONNX else devices.kind()}"


def session(weights: Weights, form: Form) -> Run:
    """Returns a network as ONNX Runtime runs it: LR (1, h, w, 3) to SR, of `form`."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = devices.cores()
    options.log_severity_level = 3  # errors

    def open_() -> onnxruntime.InferenceSession:
        file = _file(weights, form)
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    try:
        opened = open_()
    except Exception:  # a file that was damaged; its classes of errors share no other base
        _path(weights, form).unlink(missing_ok=True)
        opened = open_()

    def run(parts: np.ndarray) -> np.ndarray:
        (sr,) = opened.run(None, {program.INPUT: np.ascontiguousarray(parts)})
        return np.asarray(sr)

    return run


def _difference(weights: Weights, with_jax: Run) -> float:
    """Returns the largest difference between the engines on an image, kept from an earlier time."""
    path = _folder() / f"{_key(weights)}.json"
    with contextlib.suppress(KeyError, OSError, TypeError, ValueError):
        return float(files.read_json(path)["difference"])
    side = max(SIDE, getattr(weights.module, "smallest", 1))
    lr = _image(side)
    expected = with_jax(lr)
    difference = float("inf")
    with contextlib.suppress(Exception):  # of ONNX Runtime, whose classes share no base
        sr = session(weights, Form(given="uint8"))(lr[None])[0]
        rounded = session(weights, Form(given="uint8", made="uint8"))(lr[None])[0]
        off = np.abs(np.clip(sr, 0, 1) * 255 - rounded).max()
        if np.isfinite(sr).all() and off <= HALF_A_LEVEL:
            difference = float(np.abs(sr - expected).max())
    with contextlib.suppress(OSError):  # a folder that cannot be written to costs time only
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(path, json.dumps({"network": weights.spec, "difference": difference}))
    return difference


def _image(side: int) -> np.ndarray:
    """Returns waves and noise, uint8 (side, side + 8, 3)."""
    random, phases = np.random.default_rng(0), np.arange(3) * 2.0
    waves = np.sin(np.arange(side)[:, None, None] / 5 + phases)
    waves = waves * np.cos(np.arange(side + 8)[None, :, None] / 7 + phases)
    return np.clip(waves * 110 + 128 + random.normal(0, 12, waves.shape), 0, 255).astype(np.uint8)


def _file(weights: Weights, form: Form) -> str | bytes:
    """Returns the path of a network's file, which is made if it is missing.

    Returns its bytes if the cache folder cannot be written to.
    """
    path = _path(weights, form)
    if path.is_file():
        with contextlib.suppress(OSError):
            path.touch()  # the files used last are kept
        return str(path)
    data = program.to_bytes(weights, weights.name, form)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as temporary:
            temporary.write_bytes(data)
        _drop_oldest(path)
    except OSError:
        return data
    return str(path)


def _path(weights: Weights, form: Form) -> Path:
    return _folder() / f"{_key(weights)}-{form.given}-{form.made}.onnx"


def _drop_oldest(newest: Path) -> None:
    """Removes the files that were not used for longest, until all take `MOST_BYTES` at most."""
    found = [(path.stat(), path) for path in newest.parent.iterdir() if path != newest]
    room = MOST_BYTES - newest.stat().st_size
    for facts, path in sorted(found, key=lambda pair: -pair[0].st_mtime):
        room -= facts.st_size
        if room < 0:
            path.unlink(missing_ok=True)


def _folder() -> Path:
    return devices.cache_folder() / "onnx"


def _key(weights: Weights) -> str:
    """Returns a hash of what the outputs depend on: weights, versions and this machine."""
    facts = [weights.digest, program.REVISION, *_surroundings()]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]


@functools.cache
def _surroundings() -> list[str]:
    """Returns versions, and the type of the CPU as far as it is known."""
    versions = [metadata.version(name) for name in ("kdgan_jax", "jax", ONNX)]
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return [*versions, line.partition(":")[2].strip()]
    return [*versions, platform.processor() or platform.machine()]
