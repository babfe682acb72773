"""Errors for the user to fix, exit codes, and look-ups that suggest the closest known name."""

import difflib
import sys
from collections.abc import Iterable, Mapping
from typing import NoReturn, TypeVar

Value = TypeVar("Value")


class UserError(ValueError):
    """An error that the user can fix: one sentence with what is wrong, where, and what to do.

    Commands print it without a traceback and exit with code 2. The text stays on one line even if
    a file contributes a name with line breaks: characters that cannot be printed are escaped.
    """

    def __str__(self) -> str:
        """Returns the message on one line."""
        message = super().__str__()
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in message)


class Stopped(BaseException):
    """The program was asked to stop and has saved its state; starting it again continues.

    It is not an `Exception`, because a signal can raise it anywhere and no handler on the way may
    mistake it for an ordinary error. Commands print it and exit with code `STOPPED`, on which a
    cluster's script starts them again.
    """


STOPPED = 75  # EX_TEMPFAIL of sysexits.h


def leave(error: object, code: int = 2) -> NoReturn:
    """Prints one line on stderr and ends the program."""
    print(error if code == STOPPED else f"error: {error}", file=sys.stderr)
    sys.exit(code)


def missing(package: str, purpose: str) -> UserError:
    """Returns the error for an optional `package`, part of the extra `train`, that is missing."""
    return UserError(
        f"{purpose} needs {package}, which is not installed; run pip install 'kdgan_jax[train]'"
    )


def suggest(word: str, known: Iterable[str]) -> str:
    """Returns "; did you mean 'x'?" if `word` nearly matches a known word, else ""."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def pick(table: Mapping[str, Value], name: str, field: str) -> Value:
    """Returns `table[name]`.

    Raises:
      UserError: `name` is not in the table; the message has `field`, the value and the known names.
    """
    if name in table:
        return table[name]
    raise UserError(
        f"{field}={name!r} is unknown{suggest(name, table)} (known: {', '.join(sorted(table))})"
    )
