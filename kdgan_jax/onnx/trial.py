"""Running a file on a picture, in each runtime that is there."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

Run = Callable[[Path, np.ndarray], np.ndarray]


def _planes(image: np.ndarray) -> np.ndarray:
    """Returns a picture as files take it."""
    planes: np.ndarray = image.transpose(2, 0, 1)[None].astype(np.float32) / 255
    return planes


def _in_onnxruntime(file: Path | bytes, image: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {session.get_inputs()[0].name: image})
    return np.asarray(result)


def _in_openvino(path: Path, image: np.ndarray) -> np.ndarray:
    # Otherwise the import reports its use over the network, from a forked process.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    # By default, CPUs that can would compute in bfloat16.
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.asarray(compiled(image)[0])


RUNTIMES: dict[str, Run] = {"onnxruntime": _in_onnxruntime, "openvino": _in_openvino}


def simulated(data: bytes, image: np.ndarray) -> np.ndarray:
    """Returns what ONNX Runtime makes of a picture by the bytes of a `simulation`, as `results`."""
    return _in_onnxruntime(data, _planes(image))[0].transpose(1, 2, 0)


def results(path: Path, image: np.ndarray) -> dict[str, np.ndarray]:
    """Returns what each runtime that is installed makes of a picture.

    Args:
      path: a file with the input float32 (1, 3, h, w), 1 for white.
      image: uint8 (h, w, 3).

    Returns:
      float32 (H, W, 3) by the name of the runtime.
    """
    lr = _planes(image)
    found = [name for name in RUNTIMES if importlib.util.find_spec(name)]
    return {name: RUNTIMES[name](path, lr)[0].transpose(1, 2, 0) for name in found}
