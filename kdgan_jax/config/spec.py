"""Texts that name an entry of a table and give its options: "compact:channels=32,depth=4".

A network, a loss or a schedule fits into one field of a config that way, so that another one with
options of its own can be chosen on the command line.
"""

import ast
import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from kdgan_jax.config.settings import Spec
from kdgan_jax.runtime.errors import UserError, pick, suggest

Entry = TypeVar("Entry")


def parse(text: str, field: str) -> Spec:
    """Returns what `text` says; its values are numbers, words, True, False, None and tuples.

    Raises:
      UserError: it is not of the form NAME or NAME:KEY=VALUE,KEY=VALUE; `field` says where it
        stands.
    """
    name, _, rest = text.partition(":")
    try:
        call = ast.parse(f"f({rest})", mode="eval").body
        assert isinstance(call, ast.Call)
        keys = [keyword.arg for keyword in call.keywords]
        if call.args or not name or None in keys:
            raise ValueError("every option needs a name")
        if len(set(keys)) < len(keys):
            raise ValueError("an option is given twice")
        return Spec(name.strip(), {str(k.arg): _value(k.value) for k in call.keywords})
    except (AssertionError, MemoryError, RecursionError, SyntaxError, ValueError) as error:
        reason = str(error).partition(":")[0].splitlines()[:1] or ["it is more than that"]
        raise UserError(
            f"{field}={text!r} cannot be read ({reason[0]}); write NAME or"
            " NAME:KEY=VALUE,KEY=VALUE, such as compact:channels=32,depth=4"
        ) from None


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Tuple | ast.List):
        return tuple(_value(element) for element in node.elts)
    return ast.literal_eval(node)


def build(
    table: Mapping[str, Any],
    name: str,
    options: Mapping[str, Any],
    field: str,
    **more: Any,
) -> Any:
    """Returns `table[name](**options, **more)` of a table of dataclasses.

    Args:
      table: dataclasses by name; Linen modules are dataclasses.
      name: of the entry.
      options: out of the fields of the dataclass.
      field: where name and options stand, for messages.
      more: arguments that are not the user's.

    Raises:
      UserError: there is no such entry, or it has no such option.
    """
    entry = pick(table, name, field)
    fields = [f.name for f in dataclasses.fields(entry) if f.init]
    known = [n for n in fields if n not in ("parent", "name", *more)]
    for key in options:
        if key not in known:
            there = f"known: {', '.join(known)}" if known else "it has none"
            raise UserError(
                f"{field}: {name!r} has no option {key!r}{suggest(key, known)} ({there})"
            )
    # JSON and command lines turn tuples into lists, which Linen cannot hash.
    plain = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    for key, value in plain.items():
        usual = getattr(entry, key, None)
        if not _alike(value, usual):
            raise UserError(f"{field}: {name!r} has {key}={usual!r}, and cannot have {value!r}")
    return entry(**plain, **more)


def _alike(value: Any, usual: Any) -> bool:
    """Returns whether a value is of the type of a field's default; of None anything is."""
    if usual is None:
        return True
    if isinstance(usual, tuple):
        return isinstance(value, tuple) and all(_alike(v, usual[0]) for v in value if usual)
    if isinstance(usual, bool) or isinstance(value, bool):
        return isinstance(usual, bool) and isinstance(value, bool)
    return isinstance(value, int | float if isinstance(usual, float) else type(usual))
