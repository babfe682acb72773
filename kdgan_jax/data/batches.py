"""The batch of a training step, and its arrays by name for a file."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Batch(NamedTuple):
    """Aligned patches as NumPy or JAX arrays: uint8, or float for stored outputs that are float.

    Attributes:
      lr: (B, h, w, 3).
      targets: (B, H, W, 3) each, by name: "hr" and further images; zeros where `valid` is False.
      valid: (B,) bool each, only for the targets that some photos of the run lack.
      index: (B,) uint32, the number of each sample in the whole run: step * global batch + position
        in the global batch. It seeds a sample's random numbers, so that a sample is the same on any
        number of devices.
    """

    lr: Any
    targets: dict[str, Any]
    valid: dict[str, Any]
    index: Any


def to_arrays(batch: Batch) -> dict[str, Any]:
    """Returns the arrays of a batch by flat names, such as "targets.hr"."""
    trees = {"targets": batch.targets, "valid": batch.valid}
    arrays = {f"{field}.{name}": a for field, tree in trees.items() for name, a in tree.items()}
    return {"lr": batch.lr, "index": batch.index, **arrays}


def from_arrays(arrays: Mapping[str, Any]) -> Batch:
    """Returns the batch with these arrays; the inverse of `to_arrays`."""

    def tree(field: str) -> dict[str, Any]:
        prefix = f"{field}."
        return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}

    return Batch(arrays["lr"], tree("targets"), tree("valid"), arrays["index"])
