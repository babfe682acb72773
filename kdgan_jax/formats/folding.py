"""Weights that PyTorch stores as factors: weight norm and spectral norm, the old and the new form.

A layer with weight norm has `weight_g` and `weight_v`, or `parametrizations.weight.original0` and
`.original1`; one with spectral norm has `weight_orig`, `weight_u` and `weight_v`, or
`parametrizations.weight.original`, `.0._u` and `.0._v`. Either computes with one `weight`.
"""

import re
from collections.abc import Mapping

import numpy as np

OLD = re.compile(r"(?P<name>.+)_(?P<part>g|v|orig|u)")
NEW = re.compile(r"(?P<at>.*?)parametrizations\.(?P<name>\w+)\.(?P<part>original[01]?|0\._[uv])")
PARTS = {"original0": "g", "original1": "v", "original": "orig", "0._u": "u", "0._v": "v"}


def _part(key: str) -> tuple[str, str] | None:
    """Returns (name of the weight, which of its factors it is), or None for other entries."""
    if new := NEW.fullmatch(key):
        return new["at"] + new["name"], PARTS[new["part"]]
    old = OLD.fullmatch(key)
    return (old["name"], old["part"]) if old else None


def _weight_norm(g: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Returns v scaled so that its norm over the axes that `g` lacks is `g`."""
    kept = g.shape if g.ndim == v.ndim else (1,) * v.ndim
    axes = tuple(axis for axis, length in enumerate(kept) if length == 1)
    norm = np.sqrt(np.sum(np.square(v, dtype=np.float64), axis=axes, keepdims=True))
    return (v * (g.reshape(kept) / norm)).astype(np.float32)


def _spectral_norm(weight: np.ndarray, u: np.ndarray, v: np.ndarray | None) -> np.ndarray:
    """Returns `weight` divided by its largest singular value, as its vectors `u`, `v` give it."""
    axis = weight.shape.index(u.size)  # that of the outputs: 0, in transposed convolutions 1
    matrix = np.moveaxis(weight, axis, 0).reshape(u.size, -1).astype(np.float64)
    if v is None:  # PyTorch before 1.1 does not store it
        v = matrix.T @ u
        v = v / np.linalg.norm(v)
    return (weight / (u.ravel() @ matrix @ v.ravel())).astype(np.float32)


def folded(entries: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns a file's entries with one weight, float32, in place of the factors of each norm.

    Raises:
      ValueError: factors do not fit together.
    """
    factors: dict[str, dict[str, np.ndarray]] = {}
    for key, array in entries.items():
        if (place := _part(key)) and array.dtype.kind == "f":
            factors.setdefault(place[0], {})[place[1]] = array
    weights = {}
    with np.errstate(divide="ignore", invalid="ignore"):  # what is not finite is refused later
        for name, part in factors.items():
            if part.keys() == {"g", "v"}:
                weights[name] = _weight_norm(part["g"], part["v"])
            elif part.keys() in ({"orig", "u"}, {"orig", "u", "v"}):
                weights[name] = _spectral_norm(part["orig"], part["u"], part.get("v"))
    result: dict[str, np.ndarray] = {}
    for key, array in entries.items():
        place = _part(key)
        if place and place[0] in weights:
            result[place[0]] = weights[place[0]]  # where the first factor is
        else:
            result[key] = array
    return result
