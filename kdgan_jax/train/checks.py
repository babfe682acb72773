"""The entrance of a config: it is checked here once, and handed on as typed parts."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kdgan_jax import losses, models
from kdgan_jax.config import BACKENDS, LR_SCALING, LR_SCHEDULES, SAMPLING, default, spec, to_json
from kdgan_jax.config import phase as default_phase
from kdgan_jax.config.settings import (
    BatchConfig,
    DataConfig,
    DiscriminatorConfig,
    LoopConfig,
    LossConfig,
    OptimizerConfig,
    PhaseConfig,
    RunConfig,
    TeacherConfig,
)
from kdgan_jax.runtime import files
from kdgan_jax.runtime.errors import UserError, pick
from kdgan_jax.train import optim
from kdgan_jax.workdir import checkpoint
from kdgan_jax.workdir.metrics import NO_LOSSES

IMAGES = "lr", "hr"  # what a teacher may read
TAKEN = *NO_LOSSES, "discriminator"  # columns of the log, which no label can be


def checked(config: Any) -> RunConfig:
    """Checks values and how they fit together, before any work, and returns them as parts.

    Args:
      config: a ConfigDict of `kdgan_jax.config.default`, or one read back from JSON.

    Raises:
      UserError: names the field, its value, the constraint and what to do.
    """
    if config.scale not in models.SCALES:
        raise UserError(
            f"config.scale={config.scale} is not supported; choose one of {models.SCALES}"
        )
    _choices(config)
    if not config.data.source:
        raise UserError(
            "config.data.source is empty; name folders of photos, 'tfds:NAME' or 'embedded'"
        )
    for field in ("max_bad_steps", "log_every", "evaluate_every", "checkpoint_every"):
        if config[field] < 1:
            raise UserError(f"config.{field}={config[field]} must be at least 1")
    if config.steps_per_call < 0:
        raise UserError(f"config.steps_per_call={config.steps_per_call} must be 0 or more")
    if config.steps_per_call > 1 and config.data.backend == "tfdata":
        raise UserError(
            f"config.steps_per_call={config.steps_per_call} needs config.data.backend='device': the"
            " host gives one batch at a time"
        )
    if not config.phases:
        raise UserError(f"config.phases is empty; name some of {tuple(config.train)}")
    if len(set(config.phases)) < len(config.phases):
        raise UserError(f"config.phases={tuple(config.phases)} must name each phase once")
    return RunConfig(
        seed=config.seed,
        scale=config.scale,
        devices=config.devices,
        phases=tuple(_phase(config, str(name), i) for i, name in enumerate(config.phases)),
        data=_part(DataConfig, config.data),
        loop=_part(LoopConfig, config),
        saved=to_json(config),
    )


def _part(kind: Any, fields: Any) -> Any:
    """Returns the dataclass `kind` made of those of `fields` that it has."""
    return kind(**{field.name: fields[field.name] for field in dataclasses.fields(kind)})


def _choices(config: Any) -> None:
    for field, known in {
        "data.backend": BACKENDS,
        "data.sampling": SAMPLING,
        "optim.lr_scaling": LR_SCALING,
        "dtype": models.DTYPES,
    }.items():
        value = config
        for word in field.split("."):
            value = value[word]
        pick(dict.fromkeys(known), value, f"config.{field}")


def _phase(config: Any, name: str, number: int) -> PhaseConfig:
    field = f"config.train.{name}"
    settings = pick(dict(config.train.items()), name, "config.phases")
    _numbers(settings, field, config.scale)
    earlier = tuple(config.phases[:number])
    networks = {n: v for n, v in config.items() if hasattr(v, "keys") and "network" in v}
    description = pick(networks, settings.network, f"{field}.network")
    network = spec.parse(description.network, f"config.{settings.network}.network")
    models.generator(
        *(network.name, network.options, config.scale),
        field=f"config.{settings.network}.network",
        dtype=config.dtype,
    )
    used = _losses(settings, field)
    targets = {one.target for one in used.values()}
    teachers = {
        label: _teacher(one, earlier, config, f"{field}.teachers.{label}")
        for label, one in settings.teachers.items()
        if label in targets  # what no loss looks at need not be there
    }
    _model_path(settings.start, earlier, config, f"{field}.start")
    factor = optim.rate_factor(config.optim.lr_scaling, settings.batch, settings.reference_batch)
    scaling = f"{config.optim.lr_scaling} in batch {settings.batch} over {settings.reference_batch}"
    optimizer = OptimizerConfig(
        learning_rate=settings.learning_rate,
        factor=factor,
        scaling=scaling,
        betas=tuple(settings.betas),
        schedule=settings.schedule,
        final_fraction=settings.final_fraction,
        milestones=tuple(settings.milestones),
        warmup_steps=settings.warmup_steps,
        clip_norm=settings.clip_norm,
    )
    return PhaseConfig(
        name=name,
        network=settings.network,
        spec=network,
        checkpoint="" if settings.start else description.checkpoint,
        start=settings.start,
        teachers=teachers,
        losses=used,
        discriminator=_discriminator(settings, used, optimizer, config.dtype, field),
        batches=BatchConfig(settings.steps, settings.batch, settings.hr_patch),
        optimizer=optimizer,
        ema_decay=settings.ema_decay,
        dtype=config.dtype,
        number=number,
    )


def _numbers(settings: Any, field: str, scale: int) -> None:
    """Checks the numbers of a phase."""
    for name in ("steps", "batch", "reference_batch", "hr_patch"):
        if settings[name] < 1:
            raise UserError(f"{field}.{name}={settings[name]} must be at least 1")
    if settings.steps * settings.batch >= 2**32:
        raise UserError(
            f"{field}.steps={settings.steps} times batch={settings.batch} must be below 2**32"
        )
    rates = {
        "learning_rate": settings.learning_rate,
        "discriminator.learning_rate": settings.discriminator.learning_rate,
    }
    for name, rate in rates.items():
        if not 0 < rate < math.inf:
            raise UserError(f"{field}.{name}={rate} must be above 0")
    for name, (value, highest) in {
        "final_fraction": (settings.final_fraction, 1),
        "ema_decay": (settings.ema_decay, 1),
        "clip_norm": (settings.clip_norm, math.inf),
        "warmup_steps": (settings.warmup_steps, settings.steps - 1),
        "discriminator.warmup_steps": (
            settings.discriminator.warmup_steps,
            settings.steps - 1,
        ),
    }.items():
        if not 0 <= value <= highest:
            raise UserError(f"{field}.{name}={value} must be from 0 to {highest}")
    for name, length in {"betas": 2, "milestones": len(settings.milestones)}.items():
        values = tuple(settings[name])  # words may be typed, too
        numbers = all(isinstance(x, int | float) and 0 <= x < 1 for x in values)
        if len(values) != length or not numbers:
            raise UserError(f"{field}.{name}={values} must be {length} numbers from 0 to below 1")
    if settings.hr_patch % scale:
        raise UserError(
            f"{field}.hr_patch={settings.hr_patch} is not divisible by config.scale={scale};"
            " choose a multiple of it"
        )
    pick(dict.fromkeys(LR_SCHEDULES), settings.schedule, f"{field}.schedule")


def _model_path(name: str, earlier: tuple[str, ...], config: Any, field: str) -> None:
    """Refuses the name of a phase that does not run before; what is no phase is a path."""
    if name in config.train and name not in earlier:
        raise UserError(
            f"{field}={name!r} is a phase that does not run before this one (before it run:"
            f" {', '.join(earlier) or 'none'}); add it to config.phases, or name an earlier one or"
            " a file"
        )


def _teacher(settings: Any, earlier: tuple[str, ...], config: Any, field: str) -> TeacherConfig:
    if not settings.model:
        raise UserError(f"{field}.model is empty; name an earlier phase or a file")
    _model_path(settings.model, earlier, config, f"{field}.model")
    pick(dict.fromkeys(IMAGES), settings.reads, f"{field}.reads")
    return TeacherConfig(settings.model, settings.reads)


def _losses(settings: Any, field: str) -> dict[str, LossConfig]:
    """Returns the losses of a phase whose weight is not 0."""
    teachers, used = dict(settings.teachers.items()), {}
    for label, one in settings.losses.items():
        where = f"{field}.losses.{label}"
        if label in TAKEN:
            raise UserError(f"{where}: the log needs the name {label!r}; choose another label")
        parsed = _loss(one, where)
        term = spec.build(losses.TERMS, *parsed.kind, f"{where}.kind", target=parsed.target)
        term.check(settings.hr_patch, f"{where}.kind")
        if not parsed.weight:
            continue
        if term.of_teacher and parsed.target not in teachers:
            raise UserError(
                f"{where}.target={parsed.target!r} must be a teacher of the phase"
                f" ({', '.join(teachers) or 'it has none'}); name one in {field}.teachers"
            )
        if not term.of_teacher:
            pick(dict.fromkeys(("hr", *teachers)), parsed.target, f"{where}.target")
        if term.of_image and parsed.target in teachers and teachers[parsed.target].reads == "hr":
            raise UserError(
                f"{where}.target={parsed.target!r} reads HR and makes images of another size; use"
                f" its features, or set {field}.teachers.{parsed.target}.reads to 'lr'"
            )
        used[label] = parsed
    if not used:
        raise UserError(
            f"{field}: every loss weight is 0; set the weight of one of"
            f" {', '.join(settings.losses) or 'its losses (it has none)'}"
        )
    return used


def _loss(settings: Any, field: str) -> LossConfig:
    if not 0 <= settings.weight < math.inf:
        raise UserError(f"{field}.weight={settings.weight} must be 0 or more")
    schedule = spec.parse(settings.schedule, f"{field}.schedule")
    spec.build(losses.SCHEDULES, *schedule, f"{field}.schedule")
    kind = spec.parse(settings.kind, f"{field}.kind")
    return LossConfig(kind, settings.weight, schedule, settings.target)


def _discriminator(
    settings: Any, used: dict[str, LossConfig], optimizer: OptimizerConfig, dtype: str, field: str
) -> DiscriminatorConfig | None:
    """Returns the discriminator of a phase with an adversarial loss, else None."""
    games = [n for n, one in used.items() if "discriminator" in losses.TERMS[one.kind.name].needs]
    if not games:
        return None
    if len(games) > 1:
        raise UserError(
            f"{field}.losses: {' and '.join(games)} are adversarial, and there is one"
            " discriminator; keep one of them"
        )
    own, where = settings.discriminator, f"{field}.discriminator"
    network = spec.parse(own.network, f"{where}.network")
    models.discriminator(network.name, network.options, field=f"{where}.network", dtype=dtype)
    regularizers = {}
    for label, one in own.regularizers.items():
        if label in TAKEN or label in used:
            raise UserError(
                f"{where}.regularizers.{label}: the name is taken; choose another label"
            )
        parsed = _loss(one, f"{where}.regularizers.{label}")
        spec.build(losses.REGULARIZERS, *parsed.kind, f"{where}.regularizers.{label}.kind")
        if parsed.weight:
            regularizers[label] = parsed
    return DiscriminatorConfig(
        network=network,
        game=games[0],
        optimizer=dataclasses.replace(optimizer, learning_rate=own.learning_rate),
        warmup_steps=own.warmup_steps,
        regularizers=regularizers,
    )


# May differ between the starts of a run: they do not change what it computes. (Photos may move: a
# run records which they are.)
FREE = (
    "log_every",
    "evaluate_every",
    "checkpoint_every",
    "devices",
    "steps_per_call",
    "max_bad_steps",
    "data.memory_mb",
    "data.backend",
    "data.prepared",
    "data.source",
)


def check_workdir(run: RunConfig, path: Path) -> None:
    """Checks a run against the config saved at `path` by an earlier start, if there is one.

    More steps may be asked of a phase that no later one has started from: its schedule is then
    that of the new number, from the step on where it is.

    Raises:
      UserError: they differ; names the fields and both values; or the file is damaged, or of a
        version whose runs cannot be resumed.
    """
    if not path.is_file():
        return
    saved = _saved(path)
    _refuse_old(path, saved)
    usual = _flat(to_json(default()))
    for name, described in run.saved["train"].items():
        usual |= _flat(to_json(default_phase(losses={})), f"config.train.{name}")
        # Nothing was scaled by it before it was there.
        usual[f"config.train.{name}.reference_batch"] = described["reference_batch"]
    # What a label stands for has no default.
    labels = {"losses", "teachers", "regularizers"}
    usual = {field: value for field, value in usual.items() if not labels & {*field.split(".")}}
    same_config(run.saved, path, usual, (*FREE, *_more_steps(run, path.parent, _flat(saved))))


def same_config(
    config: Mapping[str, Any], path: Path, usual: Mapping[str, Any], free: Iterable[str] = ()
) -> None:
    """Checks a config, as JSON values, against the one saved at `path`, if there is one.

    A field that was not there yet when the run was started had the effect of its default.

    Args:
      config: as it is now.
      path: of the earlier one.
      usual: defaults by whole field, such as "config.seed".
      free: fields, without "config.", that may differ.

    Raises:
      UserError: they differ; names the fields and both values; or the file is damaged.
    """
    if not path.is_file():
        return
    saved, ours = _flat(_saved(path)), _flat(config)
    for field in ours.keys() & usual.keys():
        saved.setdefault(field, usual[field])
    for field in free:
        saved.pop(f"config.{field}", None)
        ours.pop(f"config.{field}", None)
    changed = [
        f"{key}: {saved.get(key)!r} there, {ours.get(key)!r} now"
        for key in sorted(saved.keys() | ours.keys())
        if saved.get(key) != ours.get(key)
    ]
    if changed:
        raise UserError(
            f"{path.parent} holds a run of another config ({'; '.join(changed)}); choose another"
            " --workdir, or the same config"
        )


def _saved(path: Path) -> dict[str, Any]:
    try:
        return dict(files.read_json(path).items())
    except (AttributeError, ValueError) as error:
        raise UserError(
            f"{path}: is no config of a run ({error}); bring it back, or choose another --workdir"
        ) from None


def _refuse_old(path: Path, saved: dict[str, Any]) -> None:
    """Refuses to resume a run whose networks were described in another form."""
    student = saved.get("student")
    if not isinstance(student, dict) or not {"name", "kwargs"} & student.keys():
        return
    try:
        versions = files.read_json(path.with_name("run.json"))["starts"][-1]["versions"]
        by = f"kdgan_jax {versions['kdgan_jax']}"
    except (LookupError, TypeError, ValueError):
        by = "a version of kdgan_jax before 0.2"
    raise UserError(
        f"{path.parent}: was made by {by}, whose runs this version cannot resume; go on with that"
        " version, or choose another --workdir (load, evaluate and convert still read it)"
    )


def _more_steps(run: RunConfig, workdir: Path, saved: dict[str, Any]) -> list[str]:
    """Returns the fields of steps that may be higher now than they were."""
    found = []
    for phase in reversed(run.phases):
        field = f"train.{phase.name}.steps"
        before = saved.get(f"config.{field}")
        if isinstance(before, int) and before < phase.steps:
            found.append(field)
        if checkpoint.steps(checkpoint.phase_folder(workdir, phase.name)):
            break  # the phases before it have had their last word
    return found


def _flat(tree: Mapping[str, Any], prefix: str = "config") -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}.{key}"
        rows.update(_flat(value, name) if isinstance(value, dict) else {name: value})
    return rows
