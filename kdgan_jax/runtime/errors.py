"""Errors that are the user's to mend, and look-ups that suggest the name that was meant."""

import difflib
import sys
from collections.abc import Iterable, Mapping
from typing import NoReturn, TypeVar

Value = TypeVar("Value")


class UserError(ValueError):
    """What is wrong, where, and what to do, in one sentence.

    Entry points print it without a traceback and leave with exit code 2. It stays one line,
    whatever the names that files bring into it: what cannot be printed is escaped.
    """

    def __str__(self) -> str:
        """Returns the line."""
        message = super().__str__()
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in message)


class Stopped(BaseException):
    """The program was asked to end, and has saved what it had: start it again to go on.

    No kind of `Exception`: a signal raises it anywhere, and nothing on its way may take it for an
    error of its own.

    Entry points print it and leave with exit code 75, which a cluster's script starts again on.
    """


STOPPED = 75  # EX_TEMPFAIL of sysexits.h


def leave(error: object, code: int = 2) -> NoReturn:
    """Ends the program with one line on stderr."""
    print(error if code == STOPPED else f"error: {error}", file=sys.stderr)
    sys.exit(code)


def missing(package: str, purpose: str) -> UserError:
    """Returns the error that `purpose` needs `package`, which the extra `train` brings."""
    return UserError(
        f"{purpose} needs {package}, which is not installed; run pip install 'kdgan_jax[train]'"
    )


def suggest(word: str, known: Iterable[str]) -> str:
    """Returns "; did you mean 'x'?" for a near miss of `known`, else an empty string."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def pick(table: Mapping[str, Value], name: str, field: str) -> Value:
    """Returns `table[name]`.

    Raises:
      UserError: names `field`, the value and what there is, when `name` is not in the table.
    """
    if name in table:
        return table[name]
    raise UserError(
        f"{field}={name!r} is unknown{suggest(name, table)} (known: {', '.join(sorted(table))})"
    )
