"""Turns a sweep into tasks: resolves and checks every config, and finds what runs share."""

import copy
import dataclasses
import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from kdgan_jax import layouts
from kdgan_jax.config import FIELDS, check_patches, new_name, to_json
from kdgan_jax.config.settings import LoopConfig, PhaseConfig, RunConfig
from kdgan_jax.data import sources
from kdgan_jax.runtime.errors import UserError, suggest
from kdgan_jax.train import checks, inputs, results
from kdgan_jax.train.phase_checks import OR_FRESH
from launch.ablation.sweep import Overrides, Sweep
from launch.ablation.tasks import Facts, Stage, Task, digest

PYTHON = sys.executable, "-m"  # begins every command
SHARED = "shared"  # the task of the shared phases, and its folder
MODEL = "model"  # what the last phase's model is called in the tables of sets


class Run(NamedTuple):
    """A run of a sweep.

    Attributes:
      task: that makes it.
      config: checked, without the shared phases.
      row: what its last phase's model is called in its tables.
    """

    task: Task
    config: RunConfig
    row: str

    @property
    def phase(self) -> PhaseConfig:
        """The last phase, whose model is measured."""
        return self.config.phases[-1]

    @property
    def updates(self) -> int:
        """Updates of all its phases."""
        return sum(self.task.steps.values())

    @property
    def earlier(self) -> int:
        """Updates of the phases before the last one."""
        return self.updates - self.task.steps.get(self.phase.name, 0)


class Plan(NamedTuple):
    """All of a sweep.

    Attributes:
      sweep: that it carries out.
      folder: for everything that is made.
      tasks: in an order in which each comes after what it needs.
      runs: of the variants; for every seed, the control comes first.
    """

    sweep: Sweep
    folder: Path
    tasks: tuple[Task, ...]
    runs: tuple[Run, ...]

    def runs_of(self, variant: str) -> list[Run]:
        """Returns the runs of a variant, by seed."""
        return [run for run in self.runs if run.task.variant == variant]


def base_config(base: str) -> ConfigDict:
    """Returns the config that `base`, such as "configs/kd.py:smoke", names.

    Raises:
      UserError: there is none.
    """
    path, colon, variant = base.partition(":")
    if not Path(path).is_file():
        raise UserError(f"base={base!r}: {path} is no file; the project's configs are in configs/")
    try:
        config = runpy.run_path(path)["get_config"](*[variant] * bool(colon))
        lacking = [name for name in FIELDS if name not in config]
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"base={base!r} fails: {type(error).__name__}: {error}") from None
    if lacking:
        raise UserError(f"base={base!r} is no config of a run: it has no field {lacking[0]!r}")
    return config


def overridden(config: ConfigDict, overrides: Overrides, where: str) -> ConfigDict:
    """Returns a config with other values in some fields.

    Args:
      config: stays as it is.
      overrides: values by field.
      where: the part of the sweep that they are from, for messages.

    Raises:
      UserError: there is no such field, it has values of another type, or it has no effect.
    """
    config = copy.deepcopy(config)
    for name, value in overrides.items():
        if current := new_name(name):
            raise UserError(f"{where}: {name} is now called {current}; use that name")
        *path, last = str(name).removeprefix("config.").split(".")
        part: Any = config
        for depth, word in enumerate([*path, last]):
            known = list(part) if isinstance(part, ConfigDict) else []
            if word not in known:
                before = ".".join(["config", *path[:depth]])
                raise UserError(
                    f"{where}: config.{name} does not exist{suggest(word, known)}"
                    f" ({before} has {', '.join(known) or 'no fields'})"
                )
            part = part[word] if depth < len(path) else part
        if isinstance(part[last], ConfigDict):
            raise UserError(f"{where}: config.{name} has fields of its own; set one of them")
        try:
            part[last] = tuple(value) if isinstance(value, list) else value
        except (TypeError, ValueError):
            raise UserError(
                f"{where}: config.{name}={value!r} has another type than {part[last]!r}; give"
                f" a value of type {type(part[last]).__name__}"
            ) from None
    try:
        check_patches(config, overrides)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return config


def make(sweep: Sweep, folder: Path, where: str) -> Plan:
    """Returns the plan of a sweep, after the checks that every run would make at its start.

    Args:
      sweep: that `sweep.read` has checked.
      folder: of the sweep.
      where: the argument that names it, for messages.

    Raises:
      UserError: a config, a model or the photos of a variant cannot be used.
    """
    try:
        return _make(sweep, folder)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _make(sweep: Sweep, folder: Path) -> Plan:
    common = overridden(base_config(sweep.base), sweep.common, "common")
    _check_sets(sweep, common.scale)
    others: dict[str, Task] = {}
    needs: tuple[str, ...] = ()
    if sweep.shared:
        task = _shared_task(sweep, common, folder)
        others[task.name] = task
        needs = (task.name,)
    runs: list[Run] = []
    seen: dict[str, str] = {}
    gathered: set[str] = set()
    for number, seed in enumerate(sweep.seeds):
        for variant in _control_first(sweep):
            config = _variant_config(sweep, variant, common, number == 0)
            config.seed = seed
            if number == 0:
                same = _alike(_check(_with_shared(config, sweep), variant, gathered))
                if same in seen:
                    raise UserError(
                        f"variants[{variant!r}] trains the same as variants[{seen[same]!r}]; change"
                        " a field that counts, or leave one of them out"
                    )
                seen[same] = variant
            runs.append(_run(sweep, folder, variant, config, needs, others))
    return Plan(sweep, folder, (*others.values(), *(run.task for run in runs)), tuple(runs))


def _check_sets(sweep: Sweep, scale: int) -> None:
    """Raises a UserError unless the photos of all sets are there."""
    for name, entry in sweep.sets.items():
        kind, path = sources.split_kind(entry)
        try:
            layouts.at(path, scale, kind)
        except UserError as error:
            raise UserError(f"sets[{name!r}]: {error}") from None


def _control_first(sweep: Sweep) -> list[str]:
    return [sweep.control, *(name for name in sweep.variants if name != sweep.control)]


def _shared_task(sweep: Sweep, common: ConfigDict, folder: Path) -> Task:
    config = copy.deepcopy(common)
    for name in sweep.shared:
        if name not in config.train:
            raise UserError(
                f"shared: {name!r} is no phase of the base{suggest(str(name), config.train)} (its"
                f" phases: {', '.join(config.train)})"
            )
    config.phases = tuple(sweep.shared)
    run = _checked(config, "shared")
    changes = {**sweep.common, "phases": config.phases}
    workdir = folder / SHARED
    command = _command("main", sweep.base, changes, workdir=workdir)
    stage = Stage(command, workdir / "results.json", {"config": dict(run.saved)})
    return Task(SHARED, folder, workdir, (stage,), steps=_steps(run))


def _steps(run: RunConfig) -> dict[str, int]:
    return {phase.name: phase.steps for phase in run.phases if not phase.checkpoint}


def _checked(config: ConfigDict, where: str) -> RunConfig:
    """Returns a checked config.

    Raises:
      UserError: it is not valid; says where it is from.
    """
    try:
        return checks.checked(config)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _variant_config(sweep: Sweep, variant: str, common: ConfigDict, first: bool) -> ConfigDict:
    """Returns the config of a variant, whose phases are those that are not shared."""
    where = f"variants[{variant!r}]"
    overrides = sweep.variants[variant]
    config = overridden(common, overrides, where)
    own = tuple(name for name in config.phases if name not in sweep.shared)
    if not own:
        raise UserError(f"{where}: all phases of {tuple(config.phases)} are shared; leave one out")
    if config.minutes:
        raise UserError(
            f"{where}: config.minutes={config.minutes:g} would give every run its own number of"
            " updates; set it to 0, and choose steps"
        )
    shared = {f"train.{name}" for name in sweep.shared}
    shared |= {config.train[name].network for name in sweep.shared}
    for name in overrides if first else ():
        if any(f"{name}.".startswith(f"{part}.") for part in shared):
            raise UserError(
                f"{where}: config.{name} belongs to a shared phase ({', '.join(sweep.shared)}),"
                " which is the same for all variants; set it in common, or do not share the phase"
            )
    config.phases = own
    return config


def _with_shared(config: ConfigDict, sweep: Sweep) -> ConfigDict:
    """Returns the config of a run that trains the shared phases, too."""
    whole = copy.deepcopy(config)
    whole.phases = (*sweep.shared, *config.phases)
    return whole


def _check(config: ConfigDict, variant: str, gathered: set[str]) -> RunConfig:
    """Returns a checked config, after the other checks of a run's start: models, features, photos.

    Args:
      config: with the shared phases.
      variant: for messages.
      gathered: the photos that were found already, by what they depend on.
    """
    where = f"variants[{variant!r}]"
    run = _checked(config, where)
    try:
        models = inputs.external_models(run, Path(os.devnull))
        inputs.check_phases(run, Path(os.devnull), models, 1)  # a run finds its devices itself
        facts = json.dumps([*map(str, dataclasses.astuple(run.data)), run.scale, run.largest_patch])
        if facts not in gathered:
            inputs.photos(run)
            gathered.add(facts)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return run


def _alike(run: RunConfig) -> str:
    """Returns a text that two variants share if they train the same."""
    plain = dataclasses.replace(run, saved={}, loop=LoopConfig())
    return repr(plain)


def _run(
    sweep: Sweep,
    folder: Path,
    variant: str,
    config: ConfigDict,
    needs: tuple[str, ...],
    others: dict[str, Task],
) -> Run:
    """Returns a run; labels and photos that it reads become tasks in `others`."""
    name, where = f"{variant}-{config.seed}", f"variants[{variant!r}]"
    workdir = folder / "runs" / name
    facts: dict[str, Any] = {"config": to_json(_with_shared(config, sweep))}
    if SHARED in others:
        facts["shared"] = digest(others[SHARED].stages[0].facts)
    changes = {**sweep.common, **sweep.variants[variant], "seed": config.seed}
    changes |= {"phases": tuple(config.phases), **_from_shared(config, sweep, folder)}
    run = _checked(overridden(config, changes, where), where)
    made: list[str] = []
    if photos := _photos(sweep, folder, run, changes):
        others.setdefault(photos.name, photos)
        made.append(photos.name)
        changes["data.prepared"] = str(photos.folder)
    if labels := _labels(sweep, folder, run, changes, facts):
        labels = dataclasses.replace(labels, needs=(*needs, *made))
        others.setdefault(labels.name, labels)
        made.append(labels.name)
        changes["data.labels"] = str(labels.folder)
    run = _checked(overridden(config, changes, where), where)
    trained = Stage(
        _command("main", sweep.base, changes, workdir=workdir), workdir / "results.json", facts
    )
    row = results.row_names(run)[run.phases[-1].name]
    stages = [trained]
    if sweep.sets:
        stages.append(_measuring(sweep, folder, name, workdir, run))
    task = Task(
        *(name, folder, workdir, tuple(stages), (*needs, *made)),
        steps=_steps(run),
        variant=variant,
        seed=config.seed,
    )
    return Run(task, run, row)


def _from_shared(config: ConfigDict, sweep: Sweep, folder: Path) -> dict[str, str]:
    """Returns the fields in which a run's phases name a shared one, with its model instead."""
    fields = {}
    for name in config.phases:
        settings = config.train[name]
        for label, teacher in settings.teachers.items():
            if teacher.model in sweep.shared:
                field = f"train.{name}.teachers.{label}.model"
                fields[field] = f"{folder / SHARED}:{teacher.model}"
        start, fresh = settings.start.removesuffix(OR_FRESH), settings.start
        if start in sweep.shared:
            fields[f"train.{name}.start"] = f"{folder / SHARED}:{start}{fresh.removeprefix(start)}"
    return fields


def _photos(sweep: Sweep, folder: Path, run: RunConfig, changes: Overrides) -> Task | None:
    """Returns the task that decodes a run's photos, None if the run does so itself."""
    if not sweep.prepare or run.data.prepared or not run.data.copies:
        return None
    facts = {"data": _of_data(run), "scale": run.scale, "largest_patch": run.largest_patch}
    name = f"photos-{digest(facts)}"
    path = folder / "photos" / f"{name}.bin"
    command = _command("prepare", sweep.base, changes, out=path)
    stage = Stage(command, path, facts, replaces=False)
    return Task(name, folder, path, (stage,))


def _labels(
    sweep: Sweep, folder: Path, run: RunConfig, changes: Overrides, of_run: Facts
) -> Task | None:
    """Returns the task that stores the images of a run's teachers, None if it has none."""
    stored = {
        f"{phase.name}.{name}": dataclasses.asdict(phase.teachers[name])
        for phase in run.phases
        for name in phase.stored
        if phase.teachers[name].model not in [other.name for other in run.phases]
    }
    if not stored or run.data.labels:
        return None
    facts = {"data": _of_data(run), "scale": run.scale, "largest_patch": run.largest_patch}
    shown = {name: {**teacher, "model": ""} for name, teacher in stored.items()}
    models = {name: _outside(teacher["model"], folder) for name, teacher in stored.items()}
    facts |= {"teachers": shown, "models": models, "shared": of_run.get("shared", "")}
    name = f"labels-{digest(facts)}"
    path = folder / "labels" / name
    command = _command("label", sweep.base, changes, out=path)
    return Task(name, folder, path, (Stage(command, path, facts),))


def _outside(model: str, folder: Path) -> str:
    """Returns a model's path, in the sweep's folder without it, since that may move."""
    return model.removeprefix(f"{folder}{os.sep}")


def _of_data(run: RunConfig) -> dict[str, Any]:
    """Returns what photos depend on."""
    apart = "labels", "labels_mb", "prepared", "backend", "memory_mb", "weights", "sampling"
    values = json.loads(json.dumps(dataclasses.asdict(run.data)))
    return {name: value for name, value in values.items() if name not in apart}


def _measuring(sweep: Sweep, folder: Path, name: str, workdir: Path, run: RunConfig) -> Stage:
    """Returns the command that measures a run's model on the sweep's sets."""
    out = folder / "measured" / name
    metrics = list(dict.fromkeys(("psnr_y", *sweep.metrics)))
    words = [
        f"--models={MODEL}={workdir}:{run.phases[-1].name}",
        f"--data={','.join(f'{label}={path}' for label, path in sweep.sets.items())}",
        f"--metrics={','.join(metrics)}",
        f"--scale={run.scale}",
        f"--out={out}",
    ]
    facts = {"sets": dict(sweep.sets), "metrics": metrics}
    return Stage((*PYTHON, "kdgan_jax.evaluate", *words), out / "results.json", facts)


def _command(program: str, base: str, changes: Overrides, **flags: Path) -> tuple[str, ...]:
    """Returns a command with a config, as a user would write it."""
    words = [f"--config={base}"]
    words += [
        f"--config.{name.removeprefix('config.')}={as_text(value)}"
        for name, value in changes.items()
    ]
    words += [f"--{name}={path}" for name, path in flags.items()]
    return (*PYTHON, f"kdgan_jax.{program}", *words)


def as_text(value: Any) -> str:
    """Returns the value of a field as the command line takes it."""
    if isinstance(value, tuple | list):
        words = all(isinstance(v, str) and v.replace("-", "_").isidentifier() for v in value)
        return ",".join(value) if value and words else repr(tuple(value))
    return str(value)
