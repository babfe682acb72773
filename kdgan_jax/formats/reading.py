"""What readers of files share: the errors that a strange file causes, and the one they raise."""

from pathlib import Path

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
