"""What one step trains on: patches by the names of their images, and which of them there are."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Batch(NamedTuple):
    """Aligned patches, as NumPy or JAX arrays: uint8, or floats where a stored output is floats.

    Attributes:
      lr: (B, h, w, 3).
      targets: (B, H, W, 3) each, by name: "hr" and further images; zeros where `valid` is False.
      valid: (B,) bool each, only for those targets that some photos of the run lack.
      index: (B,) uint32, the number of each sample in the whole run: step * global batch + position
        in the global batch. What is random for a sample comes from it, so that a sample is the same
        on any number of devices.
    """

    lr: Any
    targets: dict[str, Any]
    valid: dict[str, Any]
    index: Any


def to_arrays(batch: Batch) -> dict[str, Any]:
    """Returns the arrays of a batch by flat names, for a file."""
    named = {"targets": batch.targets, "valid": batch.valid}
    flat = {f"{kind}.{name}": a for kind, tree in named.items() for name, a in tree.items()}
    return {"lr": batch.lr, "index": batch.index, **flat}


def from_arrays(arrays: Mapping[str, Any]) -> Batch:
    """Returns the batch of which `to_arrays` made `arrays`."""

    def named(kind: str) -> dict[str, Any]:
        start = f"{kind}."
        return {n.removeprefix(start): a for n, a in arrays.items() if n.startswith(start)}

    return Batch(arrays["lr"], named("targets"), named("valid"), arrays["index"])
