"""Texts that name an entry of a table with its options, such as "compact:channels=32,depth=4".

They fit a network, a loss or a schedule into one field of a config, so that the command line can
choose another one together with its options.
"""

import ast
import dataclasses
from collections.abc import Mapping
from typing import Any

from kdgan_jax.config.settings import Spec
from kdgan_jax.runtime.errors import UserError, pick, suggest


def parse(text: str, field: str) -> Spec:
    """Returns the name and options in `text`.

    Values are numbers, words, True, False, None and tuples of them.

    Args:
      text: NAME or NAME:KEY=VALUE,KEY=VALUE.
      field: the config field that holds the text, for messages.

    Raises:
      UserError: the text has another form.
    """
    name, _, rest = text.partition(":")
    try:
        call = ast.parse(f"f({rest})", mode="eval").body
        if not isinstance(call, ast.Call):
            raise ValueError("it is not a list of options")
        keys = [keyword.arg for keyword in call.keywords]
        if call.args or not name or None in keys:
            raise ValueError("every option needs a name")
        if len(set(keys)) < len(keys):
            raise ValueError("an option is given twice")
        return Spec(name.strip(), {str(k.arg): _value(k.value) for k in call.keywords})
    except (MemoryError, RecursionError, SyntaxError, ValueError) as error:
        reason = str(error).partition(":")[0].splitlines()[:1] or ["it is nested too deeply"]
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
    **fixed: Any,
) -> Any:
    """Returns `table[name](**options, **fixed)`.

    Args:
      table: dataclasses by name; Linen modules are dataclasses.
      name: of the entry.
      options: fields of the dataclass that the user sets.
      field: the config field that holds name and options, for messages.
      fixed: fields that the user cannot set.

    Raises:
      UserError: there is no such entry, it has no such option, or the option has another type.
    """
    entry = pick(table, name, field)
    fields = [f.name for f in dataclasses.fields(entry) if f.init]
    known = [n for n in fields if n not in ("parent", "name", *fixed)]
    for key in options:
        if key not in known:
            choices = f"known: {', '.join(known)}" if known else "it has none"
            raise UserError(
                f"{field}: {name!r} has no option {key!r}{suggest(key, known)} ({choices})"
            )
    # JSON and the command line turn tuples into lists, which Linen cannot hash.
    hashable = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    for key, value in hashable.items():
        default = getattr(entry, key, None)
        if not _same_type(value, default):
            raise UserError(
                f"{field}: {key}={value!r} is not possible for {name!r}; give a value like the"
                f" default, {key}={default!r}"
            )
    return entry(**hashable, **fixed)


def _same_type(value: Any, default: Any) -> bool:
    """Returns whether a value has the type of a field's default; a default of None takes any."""
    if default is None:
        return True
    if isinstance(default, tuple):
        return isinstance(value, tuple) and all(_same_type(v, default[0]) for v in value if default)
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    return isinstance(value, int | float if isinstance(default, float) else type(default))
