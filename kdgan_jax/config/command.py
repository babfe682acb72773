"""Commands with a config: `--config=FILE:VARIANT --config.FIELD=VALUE --workdir=FOLDER`."""

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from absl import app, flags
from ml_collections import config_flags
from ml_collections.config_flags import tuple_parser

from kdgan_jax.config import NOW, renamed
from kdgan_jax.runtime import console
from kdgan_jax.runtime.errors import STOPPED, Stopped, UserError, leave


class _Words(tuple_parser.TupleParser):
    """Takes tuples of words without quotes and brackets, as they are typed: a,b."""

    def parse(self, argument: Any) -> Any:
        """Returns the tuple that `argument` says."""
        if isinstance(argument, str):
            words = [word.strip() for word in argument.strip("()").split(",") if word.strip()]
            if all(word.replace("-", "_").isidentifier() for word in words):
                return tuple(words)
        return super().parse(argument)


def start(
    run: Callable[[Any, str], None],
    fields: Iterable[str],
    default: str | None = None,
    flag: str = "workdir",
    example: str = "--config=configs/kd.py --workdir=runs/kd",
    meaning: str = "Folder that the run writes to and resumes from",
) -> None:
    """Parses the flags and calls `run(config, workdir)`; a user's error is one line, exit code 2.

    Args:
      run: what the command does.
      fields: that its config must have: a file of another command is refused.
      default: of the flag that says where to; None requires it.
      flag: its name.
      example: arguments that work, for the error of what is missing.
      meaning: its help.
    """
    config_flags.register_flag_parser_for_type(tuple, _Words())
    config_flags.DEFINE_config_file(
        "config", None, "A file of configs/, with a variant after a colon: configs/kd.py:smoke"
    )
    flags.DEFINE_string(flag, default, meaning)
    for name in ("config", flag):  # --help shows the flags of the module that was started
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])

    def main(argv: list[str]) -> None:
        if argv[1:]:
            raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
        missing = [f"--{name}" for name in ("config", flag) if flags.FLAGS[name].value is None]
        if missing:
            leave(f"missing {' and '.join(missing)}; example: {example}")
        console.setup()
        config = flags.FLAGS.config
        lacking = [field for field in fields if field not in config]
        if lacking:
            leave(f"--config: is for another command, it has no field {lacking[0]!r}")
        try:
            run(config, str(flags.FLAGS[flag].value))
        except UserError as error:
            leave(error)
        except Stopped as stopped:
            leave(stopped, STOPPED)
        except KeyboardInterrupt:
            sys.exit(130)

    app.run(main, flags_parser=_parse)


def _parse(argv: list[str]) -> list[str]:
    """Parses the flags; a missing file, unknown field or variant is one line, too."""
    for argument in argv:
        name, _, value = argument.lstrip("-").partition("=")
        now = renamed(name) if argument.startswith("-") and name.startswith("config.") else ""
        if now:
            leave(f"--{name} is now called --config.{now}")
        if name == "config" and value and not Path(value.split(":")[0]).is_file():
            leave(f"--config={value}: no such file; the project's are in configs/")
    try:
        return flags.FLAGS(argv)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        leave(_reason(error))


def _reason(error: BaseException) -> str:
    """Returns what went wrong, out of the exceptions that absl and ml_collections wrap it in."""
    message: object = error
    while isinstance(message, BaseException) and message.args:
        message = message.args[0]
    text = str(message).replace("\\n", "\n")  # our own errors are one line, also when wrapped
    lines = [line for line in text.splitlines() if line.strip()]
    if "Traceback" in str(message):  # of what get_config raised
        return lines[-1].removeprefix("kdgan_jax.runtime.errors.UserError: ")
    said = "; ".join(lines)
    if found := re.match(r'Key "(\w+)" does not exist', said):
        said = repr(found[1])
        if now := NOW.get(found[1]) or renamed(f"student.{found[1]}"):
            said += f"; it is now called {now}"
    return said if isinstance(error, flags.Error) else f"--config has no field or value {said}"
