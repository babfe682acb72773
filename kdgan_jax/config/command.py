"""Commands with a config: `--config=FILE:VARIANT --config.FIELD=VALUE --workdir=FOLDER`."""

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

from absl import app, flags
from ml_collections import ConfigDict, config_flags
from ml_collections.config_flags import tuple_parser

from kdgan_jax.config import RENAMED, check_patches, from_json, new_name
from kdgan_jax.runtime import console
from kdgan_jax.runtime.errors import STOPPED, Stopped, UserError, leave
from kdgan_jax.runtime.files import read_json


class _Words(tuple_parser.TupleParser):
    """Also reads tuples of words without quotes and parentheses: a,b."""

    def parse(self, argument: Any) -> Any:
        """Returns the tuple in `argument`."""
        if isinstance(argument, str):
            words = [word.strip() for word in argument.strip("()").split(",") if word.strip()]
            if all(word.replace("-", "_").isidentifier() for word in words):
                return tuple(words)
        return super().parse(argument)


def start(
    run: Callable[[ConfigDict, str], None],
    fields: Iterable[str],
    default: str | None = None,
    flag: str = "workdir",
    example: str = "--config=configs/kd.py --workdir=runs/kd",
    meaning: str = "Folder that the run writes to and resumes from",
) -> None:
    """Parses the flags and calls `run(config, workdir)`; a UserError is one line, exit code 2.

    Without --config, an earlier start in the folder has the config.

    Args:
      run: the command.
      fields: that its config must have; configs of other commands are refused.
      default: of the flag that names the output; None requires the flag.
      flag: name of that flag.
      example: arguments that work, for the message about missing flags.
      meaning: help text of that flag.
    """
    sys.argv[1:] = console.arguments()  # where ml_collections finds the fields of the config
    config_flags.register_flag_parser_for_type(tuple, _Words())
    config_flags.DEFINE_config_file(
        "config", None, "A file of configs/, with a variant after a colon: configs/kd.py:smoke"
    )
    flags.DEFINE_string(flag, default, meaning)
    for name in ("config", flag):  # --help lists only the flags of the module that was started
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])

    def main(argv: list[str]) -> None:
        if argv[1:]:
            leave(f"unexpected arguments: {' '.join(argv[1:])}; example: {example}")
        saved = Path(flags.FLAGS[flag].value or "") / "config.json"
        config = flags.FLAGS.config
        if config is None and flags.FLAGS[flag].value and saved.is_file():
            config = _saved(saved)
        given = {"config": config, flag: flags.FLAGS[flag].value}
        missing = [f"--{name}" for name, value in given.items() if not value]
        if missing:
            leave(f"missing {' and '.join(missing)}; example: {example}")
        console.setup()
        lacking = [field for field in fields if field not in config]
        if lacking:
            leave(
                f"--config: this config is for another command, it has no field {lacking[0]!r};"
                f" example: {example}"
            )
        try:
            run(config, str(flags.FLAGS[flag].value))
        except UserError as error:
            leave(error)
        except Stopped as stopped:
            leave(stopped, STOPPED)
        except KeyboardInterrupt:
            sys.exit(130)

    app.run(main, flags_parser=_parse)


def _saved(path: Path) -> ConfigDict:
    """Returns the config of an earlier start, as its run saved it."""
    try:
        return from_json(read_json(path))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        leave(f"{path}: cannot be read as the config of a run ({error}); give --config")


def _parse(argv: list[str]) -> list[str]:
    """Parses the flags; also reports a missing file or an unknown field or variant in one line."""
    configs = [a for a in argv if re.fullmatch(r"--?config(=.*)?", a)]
    if len(configs) > 1:
        leave(
            f"--config is given {len(configs)} times; name one file, and change its fields by"
            " --config.FIELD=VALUE"
        )
    for argument in argv:
        name, _, value = argument.lstrip("-").partition("=")
        is_field = argument.startswith("-") and name.startswith("config.")
        if is_field and (current := new_name(name)):
            leave(f"--{name} is now called --config.{current}; use that name")
        if name == "config" and value and not Path(value.split(":")[0]).is_file():
            leave(f"--config={value}: no such file; the project's configs are in configs/")
    help_flags = [a for a in argv if re.fullmatch(r"--?(help|h)", a)]
    try:
        if help_flags:
            _help([a for a in argv if a not in help_flags])
        rest = flags.FLAGS(argv)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        leave(_reason(error))
    if flags.FLAGS.config is not None:
        changes = config_flags.get_override_values(flags.FLAGS["config"])
        try:
            check_patches(flags.FLAGS.config, changes)
        except UserError as error:
            leave(f"--{error}")
    return rest


def _help(argv: list[str]) -> NoReturn:
    """Prints the flags, and the fields of the config if `argv` names one; ends the program."""
    from kdgan_jax.config import meanings

    flags.FLAGS(argv)
    app.usage(shorthelp=True, writeto_stdout=True)
    if flags.FLAGS.config is None:
        print("With --config=FILE, --help also lists the fields of that config.")
    else:
        print(f"Fields of this config:\n{meanings.table(flags.FLAGS.config)}")
    sys.exit(0)


def _whole(text: str) -> str:
    """Returns ", such as 100000" for "1e5", and "" for what is no number."""
    try:
        return f", such as {round(float(text))}"
    except (OverflowError, ValueError):
        return ""


def _reason(error: BaseException) -> str:
    """Returns the cause, out of the exceptions that absl and ml_collections wrap around it."""
    message: object = error
    while isinstance(message, BaseException) and message.args:
        message = message.args[0]
    text = str(message).replace("\\n", "\n")  # inside a wrapper a UserError keeps its escapes
    lines = [line for line in text.splitlines() if line.strip()]
    if "Traceback" in str(message):  # from get_config
        return lines[-1].removeprefix("kdgan_jax.runtime.errors.UserError: ")
    reason = "; ".join(lines)
    if number := re.fullmatch(r"(?:flag )?(.*=)(.*): invalid literal for int\(\) .*", reason):
        return f"{number[1]}{number[2]} must be a whole number{_whole(number[2])}"
    if unknown := re.match(r'Key "(\w+)" does not exist', reason):
        field = unknown[1]
        reason = repr(field)
        if current := RENAMED.get(field) or new_name(f"student.{field}"):
            reason += f"; it is now called {current}"
    return reason if isinstance(error, flags.Error) else f"--config has no field or value {reason}"
