"""What one step trains on: patches by the names of their images, and which of them there are."""

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
