"""stdin and stdout in place of a picture and its result."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from kdgan_jax.runtime.errors import UserError

STREAM = "-"  # as an input, stdin; as an output, stdout


def is_stdin(name: str) -> bool:
    """Returns whether an input is stdin."""
    return name in (STREAM, "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")


@contextlib.contextmanager
def as_files(inputs: Sequence[str], out: str) -> Iterator[tuple[Sequence[str], str]]:
    """Yields inputs and output in which streams are files; writes stdout at the end.

    Raises:
      UserError: a stream is a terminal, or there are several pictures for stdout.
    """
    to_stdout, from_stdin = out == STREAM, is_stdin(inputs[0])
    if not to_stdout and not from_stdin:
        yield inputs, out
        return
    if to_stdout and sys.stdout.isatty():
        raise UserError("-o -: stdout is a terminal; redirect it to a file, or name one by -o")
    if to_stdout and (len(inputs) > 1 or Path(inputs[0]).is_dir()):
        raise UserError("-o -: stdout takes one picture; name a folder for several")
    with tempfile.TemporaryDirectory() as temporary:
        if from_stdin:
            if sys.stdin.isatty():
                raise UserError(f"{inputs[0]}: stdin is a terminal; redirect a picture to it")
            Path(temporary, "stdin").write_bytes(sys.stdin.buffer.read())
            inputs = [str(Path(temporary, "stdin"))]
        results = Path(temporary, "results")
        yield inputs, str(results) if to_stdout else out
        if to_stdout:
            for path in sorted(results.iterdir()):
                sys.stdout.buffer.write(path.read_bytes())
            sys.stdout.buffer.flush()
