"""Compares the config of a run with the one of an earlier start in the same workdir."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kdgan_jax.config import from_json, to_json
from kdgan_jax.config.settings import RunConfig
from kdgan_jax.runtime import files
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.workdir import checkpoint

# Fields that may differ between the starts of a run, since they do not change its results. Photos
# may move to another folder; the run records which they are.
FREE = (
    "log_every",
    "evaluate_every",
    "checkpoint_every",
    "holdout_metrics",
    "devices",
    "steps_per_call",
    "max_bad_steps",
    "data.memory_mb",
    "data.backend",
    "data.prepared",
    "data.source",
    "data.labels",
    "data.labels_mb",
)

GIVEN = "given.json"  # in a workdir: the models made elsewhere that the run uses


def check_workdir(run: RunConfig, path: Path) -> None:
    """Checks a run against the config that an earlier start saved at `path`, if there is one.

    A phase's number of steps may grow as long as no later phase has started. From then on the
    phase follows the schedule of the new number. Models made elsewhere may move: the run knows
    their contents.

    Raises:
      UserError: the configs differ (the message has the fields and both values), the file is
        damaged, or it is from a version whose runs cannot be resumed.
    """
    if not path.is_file():
        return
    saved = _saved(path)
    _refuse_old(path, saved)
    try:
        completed = to_json(from_json(saved))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise _unreadable(path, error) from None
    moved = _moved_models(run, path.with_name(GIVEN))
    more = _more_steps(run, path.parent, _flat(saved))
    _same(run.saved, completed, path, (*FREE, *moved, *more))


def given_models(path: Path) -> dict[str, str]:
    """Returns the digests of the models made elsewhere that a run uses, by full config field.

    Args:
      path: of the run's file of them; it need not exist.

    Raises:
      UserError: the file is damaged.
    """
    if not path.is_file():
        return {}
    try:
        return dict(files.read_json(path))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{path}: does not list the models that the run uses ({error!r}); restore it, or"
            " choose another --workdir"
        ) from None


def _moved_models(run: RunConfig, path: Path) -> list[str]:
    """Returns the fields of models made elsewhere whose paths may differ from the saved ones."""
    current, phases = _flat(run.saved), {phase.name for phase in run.phases}
    moved = []
    for field in given_models(path):
        value = current.get(field)
        of_network = f"config.{value}.checkpoint"  # a teacher may be named by its network
        if value and value not in phases:
            moved.append((of_network if of_network in current else field).removeprefix("config."))
    return moved


def same_config(config: Mapping[str, Any], path: Path) -> None:
    """Checks a config against the one that an earlier start saved at `path`, if there is one.

    Args:
      config: of this start, as JSON values.
      path: of the earlier start's file.

    Raises:
      UserError: the configs differ (the message has the fields and both values), or the file is
        damaged.
    """
    if path.is_file():
        _same(config, _saved(path), path, FREE)


def _same(
    config: Mapping[str, Any], earlier: Mapping[str, Any], path: Path, free: Iterable[str]
) -> None:
    """Raises a UserError if two configs differ in other fields than `free`, without "config."."""
    saved, current = _flat(earlier), _flat(config)
    for field in free:
        saved.pop(f"config.{field}", None)
        current.pop(f"config.{field}", None)
    changed = [
        f"{key}: {saved.get(key)!r} there, {current.get(key)!r} now"
        for key in sorted(saved.keys() | current.keys())
        if saved.get(key) != current.get(key)
    ]
    if changed:
        raise UserError(
            f"{path.parent} holds a run with another config ({'; '.join(changed)}); choose another"
            " --workdir, or use the same config"
        )


def _saved(path: Path) -> dict[str, Any]:
    try:
        return dict(files.read_json(path).items())
    except (AttributeError, ValueError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path}: cannot be read as the config of a run ({error}); restore it, or choose"
        " another --workdir"
    )


def _refuse_old(path: Path, saved: dict[str, Any]) -> None:
    """Raises a UserError if the config is from a version that described networks otherwise."""
    student = saved.get("student")
    if not isinstance(student, dict) or not {"name", "kwargs"} & student.keys():
        return
    try:
        versions = files.read_json(path.with_name("run.json"))["starts"][-1]["versions"]
        version = f"kdgan_jax {versions['kdgan_jax']}"
    except (LookupError, TypeError, ValueError):
        version = "a version of kdgan_jax before 0.2"
    raise UserError(
        f"{path.parent}: was made by {version}, whose runs this version cannot resume; use that"
        " version, or choose another --workdir (load, evaluate and convert can still read it)"
    )


def _more_steps(run: RunConfig, workdir: Path, saved: dict[str, Any]) -> list[str]:
    """Returns the `steps` fields of phases that may now have more steps than were saved."""
    fields = []
    for phase in reversed(run.phases):
        field = f"train.{phase.name}.steps"
        before = saved.get(f"config.{field}")
        if isinstance(before, int) and before < phase.steps:
            fields.append(field)
        if checkpoint.steps(checkpoint.phase_folder(workdir, phase.name)):
            break  # this phase has started, so the ones before it are final
    return fields


def _flat(tree: Mapping[str, Any], prefix: str = "config") -> dict[str, Any]:
    """Returns the values of nested dicts by full name, such as "config.data.source"."""
    values: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}.{key}"
        values.update(_flat(value, name) if isinstance(value, dict) else {name: value})
    return values
