"""The network at a place of a file: recognised, built, and chosen where there are several.

A file may leave open how its network computes: for which scale, with which activation. Then the
user says it, or the file's name or a fact in it, or how plain colours come out; or it is guessed.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kdgan_jax import models
from kdgan_jax.formats import foreign, search
from kdgan_jax.models.types import Arguments
from kdgan_jax.runtime.errors import UserError

MOST_PLACES = 30  # in a file that are a network, or nearly one
# Where a file leaves open how a network computes, the usual way is taken, unless plain colours tell
# otherwise: another way changes them by less than `CLOSE`, of 1 for white, and `TIMES` less.
CLOSE, TIMES = 0.05, 3.0


class Network(NamedTuple):
    """A network that was found in a file.

    Attributes:
      prefix: where; what precedes the names of its layers.
      averaged: whether the file says that its weights are averaged ones.
      name: of the architecture.
      module: the Linen module.
      kwargs: its arguments, without the scale.
      params: its weights.
      guess: what was taken of several things that fit the file; or nothing.
    """

    prefix: str
    averaged: bool
    name: str
    module: Any
    kwargs: Arguments
    params: Any
    guess: str

    @property
    def place(self) -> str:
        """The place in the file, as messages name it."""
        return self.prefix.rstrip(".") or "top level"


class Wanted(NamedTuple):
    """What the user asks of a file; see `imported.load`.

    Attributes:
      architecture: a name in `GENERATORS`, or None.
      options: its arguments that the user gives.
      scale: where the file serves several scales or leaves several open.
      part: the name of the network's place.
      averaged: whether averaged weights are preferred.
      hints: texts that may tell what the file leaves open: facts in it, then its name.
    """

    architecture: str | None
    options: Mapping[str, Any]
    scale: int | None
    part: str | None
    averaged: bool
    hints: tuple[str, ...]


def find(
    state: foreign.State, facts: Mapping[str, str], wanted: Wanted
) -> tuple[list[Network], list[tuple[int, str]]]:
    """Returns the networks among entries, and (size, first difference) of what is nearly one."""
    found: list[Network] = []
    near: list[tuple[int, str]] = []
    for claim in search.claims(foreign.shapes_of(state)):
        if any(search.within(claim.prefix, other.prefix) for other in found):
            continue
        if len(found) + len(near) == MOST_PLACES:
            break
        if wanted.architecture in (None, claim.name):
            own = search.part(state, claim.prefix)
            counters = [f"{above}n_averaged" for above in search.above(claim.prefix)]
            averaged = search.averaged(claim.prefix) or any(name in facts for name in counters)
            try:
                read = _read(claim, own, wanted)
            except (ArithmeticError, LookupError, TypeError, ValueError) as error:
                reason = str(error).removeprefix("weights do not fit: ")
                near.append((len(own), f"{claim.name}, but {reason}"))
            else:
                found.append(Network(claim.prefix, averaged, claim.name, *read))
    return found, near


def _read(
    claim: search.Claim, own: foreign.State, wanted: Wanted
) -> tuple[Any, Arguments, Any, str]:
    """Returns (module, arguments, parameters, what was guessed) of the network at a place.

    Raises:
      ValueError: the entries are not quite those of the architecture; says the first difference.
    """
    read = getattr(models.GENERATORS[claim.name], "readings", lambda *both: {"": both})
    readings: dict[str, tuple[Arguments, foreign.State]] = {}
    for label, (arguments, state) in read(claim.arguments, own).items():
        arguments = arguments | dict(wanted.options)
        if all(arguments != other for other, _ in readings.values()):
            readings[label] = arguments, state
    asked = {k: r for k, r in readings.items() if r[0]["scale"] == wanted.scale} or readings
    hinted = [k for hint in wanted.hints if (k := _hinted(asked, hint))]
    label = (hinted or list(asked))[0]
    built = {label: _built(claim.name, *asked[label], wanted.scale)}
    if not hinted and len({arguments["scale"] for arguments, _ in asked.values()}) < len(asked):
        built |= {k: _built(claim.name, *asked[k], None) for k in asked if k != label}
        errors = {k: _error(module, params) for k, (module, params) in built.items()}
        best = min(errors, key=lambda k: errors[k])
        label = best if errors[best] < min(CLOSE, errors[label] / TIMES) else label
    others = [k for k in asked if k != label]
    guess = f"{label}; {' and '.join(others)} would fit as well" if others else ""
    kwargs = {k: v for k, v in asked[label][0].items() if k != "scale"}
    return built[label][0], kwargs, built[label][1], guess


def _hinted(labels: Iterable[str], text: str) -> str:
    """Returns which reading, such as "x2", a text about a file names, such as "2x_photo.pth"."""
    letters = re.sub("[^a-z]", "", text.lower())

    def named(label: str) -> bool:
        if re.fullmatch(r"x\d", label):
            return re.search(rf"(?i){label}(?!\d)|(?<!\d){label[1]}x", text) is not None
        return re.sub("[^a-z]", "", label.lower()) in letters

    return max((label for label in labels if label and named(label)), key=len, default="")


def _built(
    name: str, arguments: Arguments, state: foreign.State, scale: int | None
) -> tuple[Any, Any]:
    """Returns (module, parameters); takes `scale` if a file serves that and others."""
    kwargs = {k: v for k, v in arguments.items() if k != "scale"}
    module, tree = foreign.described(name, kwargs, arguments["scale"], entries=len(state))
    served = getattr(module, "serves_scales", ())
    if scale in served:
        module = module.clone(scale=scale)
        tree = foreign.shapes(module)
    others = {key for each in served for key in foreign.keys(module.clone(scale=each))}
    return module, foreign.to_params(module, state, tree, others)


def _error(module: Any, params: Any) -> float:
    """Returns by how much a network changes plain colours, of 1 for white."""
    colours = np.asarray([(0.1, 0.1, 0.1), (0.9, 0.9, 0.9), (0.8, 0.5, 0.2)], np.float32)
    lr = jnp.broadcast_to(colours[:, None, None], (3, 8, 8, 3))
    sr, _ = models.apply(module, {"params": params}, lr)
    middle = 4 * module.scale
    return float(np.abs(np.asarray(sr)[:, middle, middle] - colours).mean())


def choose(path: Path, found: list[Network], wanted: Wanted) -> Network:
    """Returns the network to take.

    Raises:
      UserError: the part that was asked for is not there, or two networks fit equally.
    """
    if wanted.part is not None:
        named = [n for n in found if wanted.part in (n.place, *n.place.split("."))]
        if not named:
            raise UserError(
                f"{path}: holds no network at {wanted.part!r}; there is {_places(found)}"
            )
        found = named
    preferred = [n for n in found if n.averaged == wanted.averaged] or found
    first, *others = preferred
    if not all(n.module == first.module and _equal(n.params, first.params) for n in others):
        raise UserError(
            f"{path}: holds networks that fit equally: {_places(preferred)}; name the one to take,"
            f" as in '{path}:{first.place}'"
        )
    return first


def _places(networks: list[Network]) -> str:
    names = [f"{n.place[:100]!r} ({n.name} x{n.module.scale})" for n in networks[:4]]
    return " and ".join([*names, *["others"] * (len(networks) > 4)])


def _equal(params: Any, others: Any) -> bool:
    return all(map(np.array_equal, jax.tree.leaves(params), jax.tree.leaves(others)))
