"""What readers of files share: the errors that a strange file causes, and the one they raise."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kdgan_jax.runtime.errors import UserError

# Raised by a missing file, by JSON of another form, and by arrays of types that NumPy lacks.
UNUSABLE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
)


def unreadable(path: str | Path, kind: str, reason: object) -> UserError:
    """Returns the error that the file at `path` is not a usable one of its `kind`."""
    words = " ".join(str(reason).split()) or type(reason).__name__
    return UserError(f"{path}: cannot be read as {kind} ({words}); replace it")


def check_finite(path: str | Path, entries: Mapping[str, np.ndarray]) -> None:
    """Refuses weights with a number that is not finite in float32.

    Raises:
      UserError: there is one; names the file and the first such entry.
    """
    for name, array in entries.items():
        with np.errstate(over="ignore"):
            numbers = np.asarray(array, np.float32)
        wrong = numbers[~np.isfinite(numbers)]
        if wrong.size:
            raise UserError(
                f"{path}: entry {name!r} has {wrong.size:,} of {numbers.size:,} numbers that are"
                f" not finite ({wrong[0]}); give weights from before the training failed"
            )
