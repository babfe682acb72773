"""Networks that `tests/golden/record_spandrel.py` has recorded."""

from pathlib import Path

import checks
import numpy as np

from kdgan_jax.formats import foreign

GOLDEN = Path(__file__).parents[1] / "golden"


def state(stem):
    """Returns the recorded weights in PyTorch's layout."""
    with np.load(GOLDEN / f"spandrel_{stem}.npz") as file:
        entries = {k: file[k].astype(np.float32) for k in file.files if k.startswith("state/")}
    return {key.removeprefix("state/"): array for key, array in entries.items()}


def compare(stem, rename=dict):
    """Returns (name, arguments, largest difference from PyTorch, largest output)."""
    entries = rename(state(stem))
    _, kwargs = foreign.detect(entries)
    name, module, params = checks.restore(entries)
    with np.load(GOLDEN / f"spandrel_{stem}.npz") as file:
        lr, expected = file["input"], file["output"]
    sr, _ = checks.compiled(module.apply)({"params": params}, lr)
    assert sr.shape == expected.shape
    assert np.std(expected) > 0.01  # the input shows
    error, top = float(np.abs(sr - expected).max()), float(np.abs(expected).max())
    print(f"{stem}: {error:.2e} of {top:.2f}")
    return name, kwargs, error, top
