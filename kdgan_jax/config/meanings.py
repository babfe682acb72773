"""What the fields of a config mean, out of the comments and docstrings that describe them."""

import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from ml_collections import ConfigDict

from kdgan_jax import config as descriptions
from kdgan_jax.config.settings import DataConfig, LoopConfig

# A field, its value and perhaps a comment: `name: int = 0`, `"name": 0,`, `config.name = 0`.
_FIELD = re.compile(
    r'\s+(?:(\w+): [^=]*=|"(\w+)":|config\.([\w.]+) =)(?:[^#"]|"[^"]*")*(?:# (.*))?'
)
_ARGUMENT = re.compile(r" {6}(\w+): (.*)")


def _comments(described: Any) -> dict[str, str]:
    """Returns the comments on the fields in the source of a class or function, by field.

    A comment stands in front of a field or behind it. One in front also holds for the fields that
    follow without their own.
    """
    found: dict[str, str] = {}
    block, first = "", ""
    for line in inspect.getsource(described).splitlines():
        text = line.strip()
        if text.startswith("#"):
            block = f"{block} {text.removeprefix('#').strip()}".strip() if not first else text[2:]
            first = ""
        elif match := _FIELD.fullmatch(line):
            *names, behind = match.groups()
            name = next(filter(None, names))
            if behind:
                block, first = "", ""
                found[name] = behind
            elif block:
                found[name] = f"see {first}" if first else block
                first = first or name
        else:
            block, first = "", ""
    return found


def _arguments(function: Callable[..., Any]) -> dict[str, str]:
    """Returns what a docstring says about the arguments of a function, by argument."""
    found: dict[str, str] = {}
    name = ""
    for line in inspect.getdoc(function).partition("Args:\n")[2].splitlines():  # type: ignore[union-attr]
        if match := _ARGUMENT.fullmatch("    " + line):
            name = match[1]
            found[name] = match[2]
        elif name and line.startswith("    "):
            found[name] += f" {line.strip()}"
        elif line.strip():
            break
    return found


# By the kind of description, the meaning of its fields.
_PHASE = _arguments(descriptions.phase) | _comments(descriptions.phase)
_KINDS = {
    "losses": _arguments(descriptions.loss),
    "regularizers": _arguments(descriptions.loss),
    "teachers": _arguments(descriptions.teacher),
    "discriminator": _arguments(descriptions.discriminator),
    "train": _PHASE,
    "data": _comments(DataConfig),
    "": _comments(descriptions.default) | _comments(LoopConfig) | _arguments(descriptions.network),
}


def of(field: str) -> str:
    """Returns the meaning of a field such as "train.distill.losses.pixel.weight", or ""."""
    *path, last = field.split(".")
    kind = next((word for word in reversed(path) if word in _KINDS), "")
    last = "text" if last == "network" and kind in ("", "discriminator") else last
    text = _KINDS[kind].get(field) or _KINDS[kind].get(last, "")
    for choices in "LR_SCHEDULES", "LR_SCALING":
        text = text.replace(choices, ", ".join(getattr(descriptions, choices)))
    return text


def _fields(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from _fields(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def table(config: ConfigDict, width: int = 100) -> str:
    """Returns a line for every field, as the command line takes it.

    Its meaning is below it, and once for the fields of all phases or losses.

    Args:
      config: of a run.
      width: of a line, in letters.
    """
    lines, told = [], set()
    for field, value in _fields(config):
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
        lines.append(f"--config.{field}={shown}")
        meaning = of(field)
        if meaning not in told:
            lines += textwrap.wrap(meaning, width, initial_indent="    ", subsequent_indent="    ")
        told.add(meaning)
    return "\n".join(lines)
