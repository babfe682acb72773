"""Texts that name an entry of a table and give its options: "compact:features=32,depth=4".

A network, a loss or a schedule fits into one field of a config that way, so that another one with
options of its own can be chosen on the command line.
"""

import ast
import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from kdgan_jax.errors import UserError, pick, suggest
from kdgan_jax.settings import Spec

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
        if call.args or not name or None in (keyword.arg for keyword in call.keywords):
            raise ValueError("every option needs a name")
        return Spec(name.strip(), {str(k.arg): _value(k.value) for k in call.keywords})
    except (AssertionError, SyntaxError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else "it is more than one call"
        raise UserError(
            f"{field}={text!r} cannot be read ({reason}); write NAME or NAME:KEY=VALUE,KEY=VALUE,"
            " such as compact:features=32,depth=4"
        ) from None


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Tuple | ast.List):
        return tuple(_value(element) for element in node.elts)
    return ast.literal_eval(node)


def text(name: str, **options: Any) -> str:
    """Returns the text that `parse` reads back."""
    said = ",".join(f"{key}={value!r}" for key, value in options.items())
    return f"{name}:{said}".replace(" ", "") if said else name


def build(
    table: Mapping[str, Any],
    name: str,
    options: Mapping[str, Any],
    field: str,
    hidden: tuple[str, ...] = (),
    **more: Any,
) -> Any:
    """Returns `table[name](**options, **more)` of a table of dataclasses.

    Args:
      table: dataclasses by name; Linen modules are dataclasses.
      name: of the entry.
      options: out of the fields of the dataclass.
      field: where name and options stand, for messages.
      hidden: fields that are no options.
      more: arguments that are not the user's.

    Raises:
      UserError: there is no such entry, or it has no such option.
    """
    entry = pick(table, name, field)
    fields = [f.name for f in dataclasses.fields(entry) if f.init]
    known = [n for n in fields if n not in ("parent", "name", *hidden, *more)]
    for key in options:
        if key not in known:
            there = f"known: {', '.join(known)}" if known else "it has none"
            raise UserError(
                f"{field}: {name!r} has no option {key!r}{suggest(key, known)} ({there})"
            )
    # JSON and command lines turn tuples into lists, which Linen cannot hash.
    plain = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    return entry(**plain, **more)
