"""Finds networks among the entries of a file, whatever they are wrapped in.

A checkpoint may hold its network under any chain of names (`state_dict.module.net_g.`), beside
others. So every prefix is tried: where the names after it are those of an architecture, there is a
network. Only names and shapes are looked at.
"""

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn

from kdgan_jax import models
from kdgan_jax.formats import foreign
from kdgan_jax.models.types import Arguments, Shapes

MOST_LEVELS, MOST_PREFIXES = 10, 5000  # of wrappers; published checkpoints have up to 5 and 3,000
# Among the words of a name: that its weights are averaged ones; that they are not, though "ema" is
# there; and that they are no weights, but an optimiser's memory of each.
AVERAGED = re.compile("(^|_)(ema[a-z]*|[a-z]*ema|swa|shadow|avg|averaged?|polyak)[0-9]*(_|$)")
NEGATED = re.compile("(^|_)(non?|not|without|pre)_?ema(?=_|$)")
NO_WEIGHTS = re.compile("(^|_)(optim[a-z]*|exp_avg|momentum_buffer|grad[a-z]*)(_|$)")
# First words of parts that lie beside a network's own layers and are not among them.
COMPANIONS = re.compile(
    "(d|netd|disc|discriminator|critic|loss(es)?|criterions?|criteria|vgg|lpips|percep.*|optim.*"
    "|(lr)?scheduler|scaler|metrics?)[0-9]*"
)
ALIKE = 0.3  # share of common names from which an architecture is called the nearest


class Claim(NamedTuple):
    """A place in a file where the names are those of an architecture.

    Attributes:
      prefix: what comes before the names, such as "params.", or nothing.
      name: the architecture, in GENERATORS.
      arguments: of the network that the names and shapes stand for, its scale included.
    """

    prefix: str
    name: str
    arguments: Arguments


def _words(name: str) -> str:
    """Returns the words of "netG_EMA.0.": "net_g_ema_0"."""
    return re.sub("[^a-z0-9]+", "_", re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower()).strip("_")


def averaged(prefix: str) -> bool:
    """Returns whether a prefix says that the weights after it are an average over training."""
    return AVERAGED.search(NEGATED.sub("", _words(prefix))) is not None


def companion(name: str) -> bool:
    """Returns whether an entry lies beside a network's layers: a counter, a loss, an average."""
    first, dot, rest = name.partition(".")
    # PyTorch's batch normalization counts its batches.
    return bool(dot) and (_beside(first) or rest.endswith("num_batches_tracked"))


@functools.lru_cache
def _beside(first: str) -> bool:
    """Returns whether the first part of a name says that it lies beside a network's layers."""
    return averaged(first) or any(map(COMPANIONS.fullmatch, _words(first).split("_")))


def above(prefix: str) -> list[str]:
    """Returns the prefixes that "a.b." lies in: "" and "a."."""
    words = prefix.split(".")[:-1]
    return ["".join(f"{word}." for word in words[:n]) for n in range(len(words))]


def part(entries: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Returns the entries after `prefix` that may be a network's, by the rest of their names."""
    rest = {k.removeprefix(prefix): v for k, v in entries.items() if k.startswith(prefix)}
    return {name: value for name, value in rest.items() if not companion(name)}


def _parts(shapes: Shapes) -> Iterator[tuple[str, dict[str, tuple[int, ...]]]]:
    """Yields every prefix and what comes after it, outer ones first."""
    parts: dict[str, dict[str, tuple[int, ...]]] = {"": dict(shapes)}
    for name, shape in shapes.items():
        end = 0
        for _ in range(MOST_LEVELS):
            end = name.find(".", end) + 1
            if not end or (name[:end] not in parts and len(parts) >= MOST_PREFIXES):
                break
            parts.setdefault(name[:end], {})[name[end:]] = shape
    for prefix, rest in sorted(parts.items(), key=lambda row: row[0].count(".")):
        if NO_WEIGHTS.search(_words(prefix)):
            continue
        own = {name: shape for name, shape in rest.items() if not companion(name)}
        if len(own) > 1:
            yield prefix, own


def names(shapes: Shapes) -> dict[str, str]:
    """Returns names for averaged weights that have none, by their present names.

    Some programs keep an average as a list, or leave out the dots of names. It has the order of the
    weights that are averaged, and so their names.
    """
    parts = {
        prefix: {name: shape for name, shape in own.items() if shape}
        for prefix, own in _parts(shapes)
    }
    found: dict[str, str] = {}
    for prefix, own in parts.items():
        if not averaged(prefix) or any("." in name for name in own):
            continue
        for known in parts.values():
            dotted = all("." in name for name in known)
            if dotted and known and [*known.values()] == [*own.values()]:
                found |= {f"{prefix}{a}": f"{prefix}{b}" for a, b in zip(own, known, strict=True)}
                break
    return found


def arguments(module: type[nn.Module], entries: Shapes) -> Arguments | None:
    """Returns the arguments, with scale, that a `module` with these entries has, if it can."""
    try:
        return module.detect(entries) if hasattr(module, "detect") else None
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return None  # the names fit, but an entry has too few axes or an axis of length 0


def claims(shapes: Shapes) -> Iterator[Claim]:
    """Yields where a file with entries of these shapes may hold a network, outer places first."""
    for prefix, own in _parts(shapes):
        for name, module in models.GENERATORS.items():
            found = arguments(module, own)
            if found is not None:
                yield Claim(prefix, name, found)


def within(prefix: str, outer: str) -> bool:
    """Returns whether `prefix` leads into the layers of the network at `outer`."""
    return prefix.startswith(outer) and not companion(f"{prefix.removeprefix(outer)}.")


def _pattern(name: str) -> str:
    return re.sub(r"\d+", "#", name)


@functools.cache
def _patterns(name: str) -> dict[str, str]:
    """Returns the keys of a small network of an architecture by their form, without numbers."""
    fields = models.GENERATORS[name].__dataclass_fields__
    small = {"depth": 3, "blocks": 1, "groups": 1, "windows": (4,)}
    module = models.GENERATORS[name](**{k: v for k, v in small.items() if k in fields})
    return {_pattern(key): key for key in sorted(foreign.keys(module))}


def nearest(shapes: Shapes) -> tuple[str, str] | None:
    """Returns (architecture, first difference) of the one whose names are most like a file's."""
    found: tuple[float, str, str] = ALIKE, "", ""
    known = {name: _patterns(name) for name, m in models.GENERATORS.items() if hasattr(m, "detect")}
    for _, own in _parts(shapes):
        ours = {_pattern(key): key for key in reversed(own)}  # the first of each form
        for name, theirs in known.items():
            alike = len(ours.keys() & theirs.keys()) / len(ours.keys() | theirs.keys())
            if alike > found[0]:
                more = [key for key in own if _pattern(key) not in theirs]
                less = [key for form, key in theirs.items() if form not in ours]
                texts = [f"has {key[:100]} {own[key]}, which it lacks" for key in more]
                texts += [f"lacks {key}" for key in less]
                found = alike, name, [*texts, "its layers do not form one"][0]
    return found[1:] if found[1] else None
