"""What a sweep is: a base config, variants of it, and seeds; and how its file is read and checked.

A file of `configs/sweeps/` has a function `get_sweep()` that returns a `Sweep`.
"""

import ast
import re
import runpy
import traceback
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from kdgan_jax.evaluation import metrics
from kdgan_jax.runtime.errors import UserError, suggest

Overrides = Mapping[str, Any]  # values by config field, such as "train.distill.steps"
NAME = re.compile(r"[A-Za-z0-9][\w.+-]*", re.ASCII)  # fits a folder's name on any system
TRIAL = "trial-"  # begins the names of the variants that a search makes
TAKEN = ("shared", "labels", "photos", TRIAL)  # begin names that a file may not give


@dataclass(frozen=True)
class Sweep:
    """Runs that differ in what a few fields of a config say, and in their seeds.

    Every variant is run with every seed. A variant and the control with the same seed start from
    the same weights and see the same patches if their last phases have one name.

    Attributes:
      base: the config that all runs start from, as for --config: "configs/kd.py:scratch".
      variants: what each changes, by the variant's name.
      seeds: values of config.seed.
      control: name of the variant that the others are compared with.
      common: what all runs change, the shared phases included.
      shared: phases that do not depend on the variant, such as a teacher's. They are trained once,
        with the seed of the base, and the runs start from the result.
      prepare: whether photos are decoded (and degraded) once, into a file that all runs read.
      sets: folders of photos that the last phase's model is measured on, by name, as for --data of
        kdgan evaluate, in addition to the held-out photos.
      metrics: that the report shows, entries of `evaluation.metrics.METRICS`.
      target_psnr: in dB, on the held-out photos: the report says when it is reached. 0 takes what
        the control has at the end, with the same seed.
      search: config fields for which Optuna looks for values, with the lowest and the highest of
        each, both positive. Trials are further variants; the held-out photos judge them, by the
        first of `metrics`.
      trials: how many.
    """

    base: str
    variants: Mapping[str, Overrides]
    seeds: Sequence[int]
    control: str = "control"
    common: Overrides = field(default_factory=dict)
    shared: Sequence[str] = ()
    prepare: bool = False
    sets: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[str] = ("psnr_y", "ssim_y", "lpips_alex")
    target_psnr: float = 0.0
    search: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    trials: int = 0


def read(path: str) -> Sweep:
    """Returns the sweep that a file describes.

    Args:
      path: of a file of configs/sweeps/.

    Raises:
      UserError: there is no such file, it fails, or what it describes is not a sweep.
    """
    where = f"--sweep={path}"
    if not Path(path).is_file():
        raise UserError(f"{where}: no such file; the project's sweeps are in configs/sweeps/")
    _check_keys(path, where)
    try:
        sweep = runpy.run_path(path)["get_sweep"]()
    except KeyError as error:
        if error.args != ("get_sweep",):
            raise _failed(error, path, where) from None
        raise UserError(
            f"{where}: has no function get_sweep(); add one that returns a Sweep"
        ) from None
    except Exception as error:
        raise _failed(error, path, where) from None
    if not isinstance(sweep, Sweep):
        raise UserError(
            f"{where}: get_sweep() returns {type(sweep).__name__}; it must return a"
            " launch.ablation.sweep.Sweep"
        )
    check(sweep, where)
    return sweep


def _check_keys(path: str, where: str) -> None:
    """Refuses a dict with the same key twice, of which Python would keep the last one only."""
    try:
        tree = ast.parse(Path(path).read_bytes(), path)
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{where}: is not a Python file ({error}); correct it") from None
    for node in ast.walk(tree):
        if not isinstance(node, ast.Dict):
            continue
        texts = [key.value for key in node.keys if isinstance(key, ast.Constant)]
        if twice := _twice(texts):
            raise UserError(f"{where}, line {node.lineno}: {twice!r} is there twice; rename one")


def _twice(values: Sequence[Any]) -> Any:
    """Returns a value that occurs more than once, None if there is none."""
    return next((value for value in values if values.count(value) > 1), None)


def _failed(error: Exception, path: str, where: str) -> UserError:
    """Returns the error that a sweep's file raised `error`."""
    if isinstance(error, UserError):
        return UserError(f"{where}: {error}")
    unknown = re.search(r"Sweep.* unexpected keyword argument '(\w+)'", str(error))
    if unknown:
        known = [f.name for f in fields(Sweep)]
        return UserError(
            f"{where}: a Sweep has no field {unknown[1]!r}{suggest(unknown[1], known)} (known:"
            f" {', '.join(known)})"
        )
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == path]
    line = f", line {lines[-1]}" if lines else ""
    return UserError(f"{where}{line}: {type(error).__name__}: {error}; correct the file")


def check(sweep: Sweep, where: str) -> None:
    """Checks what can be told without the base config.

    Args:
      sweep: to check.
      where: the argument that names it, for messages.

    Raises:
      UserError: a value is invalid.
    """
    for name, kind in ("base", str), ("prepare", bool):
        _must_be(getattr(sweep, name), kind, f"{where}: {name}")
    for name in "variants", "common", "sets", "search":
        _must_be(getattr(sweep, name), Mapping, f"{where}: {name}")
    for name in "seeds", "shared", "metrics":
        _must_be(getattr(sweep, name), (tuple, list), f"{where}: {name}")
    target = sweep.target_psnr
    if not isinstance(target, int | float) or target < 0:
        raise UserError(f"{where}: target_psnr={target!r} must be a number of dB, or 0")
    seeds = list(sweep.seeds)
    if not seeds or not all(type(seed) is int and 0 <= seed < 2**32 for seed in seeds):
        raise UserError(f"{where}: seeds={seeds} must be whole numbers, at least one")
    if len(set(seeds)) < len(seeds):
        raise UserError(
            f"{where}: seeds={seeds} has {_twice(seeds)} twice, and the same run with it"
        )
    _check_names(sweep, where)
    _check_search(sweep, where)
    for name, overrides in _with_common(sweep):
        _must_be(overrides, Mapping, f"{where}: {name}")
        if "seed" in overrides and name != "common":
            raise UserError(f"{where}: {name} sets seed; name the seeds in seeds instead")
    try:
        metrics.check(sweep.metrics)
    except UserError as error:
        raise UserError(f"{where}: metrics: {error}") from None
    for name, folder in sweep.sets.items():
        if set(f"{name}{folder}") & set(",="):
            raise UserError(f"{where}: sets[{name!r}]={folder!r} may have no comma and no '='")


def _must_be(value: object, kind: Any, field: str) -> None:
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        raise UserError(
            f"{field} is {value!r}, but must be a {' or '.join(k.__name__ for k in kinds)}"
        )


def _check_names(sweep: Sweep, where: str) -> None:
    names = list(sweep.variants)
    for name in names:
        if not isinstance(name, str) or not NAME.fullmatch(name) or name.startswith(TAKEN):
            raise UserError(
                f"{where}: variants: {name!r} cannot name a run's folder; use letters, digits and"
                f" '._+-', and do not begin with {', '.join(TAKEN)}"
            )
    folded: Collection[str] = [name.casefold() for name in names]
    if twice := _twice(list(folded)):
        same = [name for name in names if name.casefold() == twice]
        raise UserError(
            f"{where}: variants: {' and '.join(same)} would have one folder; rename one"
        )
    if sweep.control not in names:
        raise UserError(
            f"{where}: control={sweep.control!r} is none of the variants"
            f"{suggest(str(sweep.control), names)} ({', '.join(names) or 'there are none'})"
        )


def _check_search(sweep: Sweep, where: str) -> None:
    for name, ends in sweep.search.items():
        numbers = isinstance(ends, tuple | list) and [type(end) in (int, float) for end in ends]
        if numbers != [True, True] or not 0 < ends[0] < ends[1]:
            raise UserError(
                f"{where}: search[{name!r}]={ends!r} must be the lowest and the highest value, both"
                " positive"
            )
    if type(sweep.trials) is not int or (sweep.trials > 0) != bool(sweep.search):
        raise UserError(
            f"{where}: trials={sweep.trials!r} must be at least 1 with a search, and 0 without"
        )
    if sweep.search and not sweep.metrics:
        raise UserError(f"{where}: metrics=() leaves a search without one to judge by")


def _with_common(sweep: Sweep) -> Iterator[tuple[str, Overrides]]:
    """Yields each mapping from config fields to values, with its name for messages."""
    yield "common", sweep.common
    for name, overrides in sweep.variants.items():
        yield f"variants[{name!r}]", overrides
