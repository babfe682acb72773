"""Whether a config makes sense, and goes with the run that lies in its workdir; before any work."""

from pathlib import Path
from typing import Any

from kdgan_jax.config import (
    BACKENDS,
    LR_SCALING,
    PARTS,
    PHASES,
    SAMPLING,
    SCHEDULES,
    default,
    to_json,
    uses_teacher,
)
from kdgan_jax.errors import UserError, pick
from kdgan_jax.io import checkpoint, files
from kdgan_jax.losses import ADVERSARIAL, PIXEL
from kdgan_jax.models import DISCRIMINATORS, SCALES, discriminator, generator
from kdgan_jax.models.vgg import LAYERS


def check(config: Any) -> None:
    """Checks values and how they fit together, before any work.

    Raises:
      UserError: names the field, its value, the constraint and what to do.
    """
    if config.scale not in SCALES:
        raise UserError(f"config.scale={config.scale} is not supported; choose one of {SCALES}")
    for name in config.phases:
        pick(dict.fromkeys(PHASES), name, "config.phases")
    if not config.data.source:
        raise UserError(
            "config.data.source is empty; name folders of photos, 'tfds:NAME' or 'embedded'"
        )
    if not config.phases:
        raise UserError(f"config.phases is empty; name some of {PHASES}")
    order = [PHASES.index(name) for name in config.phases]
    if order != sorted(set(order)):
        raise UserError(
            f"config.phases={tuple(config.phases)} is out of order; name each once, in the order"
            f" {PHASES}"
        )
    if config.steps_per_call < 0:
        raise UserError(f"config.steps_per_call={config.steps_per_call} must be 0 or more")
    if config.steps_per_call > 1 and config.data.backend == "tfdata":
        raise UserError(
            f"config.steps_per_call={config.steps_per_call} needs config.data.backend='device': the"
            " host gives one batch at a time"
        )
    pick(dict.fromkeys(BACKENDS), config.data.backend, "config.data.backend")
    pick(dict.fromkeys(SAMPLING), config.data.sampling, "config.data.sampling")
    pick(dict.fromkeys(LR_SCALING), config.optim.lr_scaling, "config.optim.lr_scaling")
    for field in ("max_bad_steps", "log_every", "evaluate_every", "checkpoint_every"):
        if config[field] < 1:
            raise UserError(f"config.{field}={config[field]} must be at least 1")
    if config.teacher.checkpoint and "teacher" not in config.phases:
        raise UserError("config.teacher.checkpoint needs 'teacher' among config.phases")
    generator(config.teacher.name, config.teacher.kwargs.to_dict(), config.scale, "config.teacher")
    generator(config.student.name, config.student.kwargs.to_dict(), config.scale, "config.student")
    pick(DISCRIMINATORS, config.discriminator.name, "config.discriminator.name")
    discriminator(config.discriminator.name, config.discriminator.kwargs.to_dict())
    for name in config.phases:
        _check_phase(config, name)


def _check_phase(config: Any, name: str) -> None:
    settings, where = config.train[name], f"config.train.{name}"
    for field in ("steps", "batch", "reference_batch", "hr_patch"):
        if settings[field] < 1:
            raise UserError(f"{where}.{field}={settings[field]} must be at least 1")
    if settings.steps * settings.batch >= 2**32:
        raise UserError(
            f"{where}.steps={settings.steps} times batch={settings.batch} must be below 2**32"
        )
    for field in ("learning_rate", "discriminator_learning_rate"):
        if settings[field] <= 0:
            raise UserError(f"{where}.{field}={settings[field]} must be above 0")
    for field, highest in {
        "final_fraction": 1,
        "ema_decay": 1,
        "blend_alpha": 1,
        "clip_norm": float("inf"),
        "warmup_steps": settings.steps - 1,
        "discriminator_warmup_steps": settings.steps - 1,
    }.items():
        if not 0 <= settings[field] <= highest:
            raise UserError(f"{where}.{field}={settings[field]} must be from 0 to {highest}")
    for field, length in {"betas": 2, "milestones": len(settings.milestones)}.items():
        if len(settings[field]) != length or not all(0 <= x < 1 for x in settings[field]):
            raise UserError(
                f"{where}.{field}={tuple(settings[field])} must be {length} numbers from 0 to"
                " below 1"
            )
    if settings.hr_patch % config.scale:
        raise UserError(
            f"{where}.hr_patch={settings.hr_patch} is not divisible by config.scale="
            f"{config.scale}; choose a multiple of it"
        )
    pick(PIXEL, settings.pixel, f"{where}.pixel")
    pick(PIXEL, settings.distill, f"{where}.distill")
    pick(ADVERSARIAL, settings.adversarial, f"{where}.adversarial")
    pick(dict.fromkeys(SCHEDULES), settings.schedule, f"{where}.schedule")
    for layer in settings.perceptual_layers:
        pick(dict.fromkeys(LAYERS), layer, f"{where}.perceptual_layers")
    if settings.perceptual_weight:
        deepest = max((int(layer[4]) for layer in settings.perceptual_layers), default=0)
        if not deepest or settings.hr_patch < 2 ** (deepest - 1):
            raise UserError(
                f"{where}.perceptual_layers={tuple(settings.perceptual_layers)} must name layers,"
                f" of which a patch of {settings.hr_patch} leaves something after pooling"
            )
    weights = [f"{part}_weight" for part in PARTS]
    if not any(settings[weight] for weight in weights):
        raise UserError(f"{where}: every loss weight is 0; set one of {', '.join(weights)}")
    if any(settings[weight] < 0 for weight in weights):
        raise UserError(f"{where}: a loss weight is negative; weights are 0 or more")
    if name == "teacher" and settings.distill_weight + settings.blend_weight:
        raise UserError(f"{where}: a teacher has no teacher; set distill and blend weights to 0")
    if name != "teacher" and uses_teacher(settings) and "teacher" not in config.phases:
        raise UserError(
            f"{where}.distill_weight needs a teacher; add 'teacher' to config.phases (with"
            " config.teacher.checkpoint it is loaded, not trained)"
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


def check_workdir(config: Any, path: Path) -> None:
    """Checks `config` against the one saved at `path` by an earlier start, if there is one.

    A field that was not there yet when the run was started had the effect of its default. More
    steps may be asked of a phase that no later one has started from: its schedule is then that of
    the new number, from the step on where it is.

    Raises:
      UserError: they differ; names the fields and both values; or the file is damaged.
    """
    if not path.is_file():
        return
    ours, usual = _flat(to_json(config)), _flat(to_json(default()))
    try:
        saved = _flat(files.read_json(path))
    except ValueError as error:
        raise UserError(
            f"{path}: is no config of a run ({error}); bring it back, or choose another --workdir"
        ) from None
    for field in ours.keys() & usual.keys():
        if field.endswith(".reference_batch"):
            saved.setdefault(field, ours[field])  # nothing was scaled by it
        elif ".kwargs." not in field:  # of one network, and another's have no default here
            saved.setdefault(field, usual[field])
    for field in (*FREE, *_more_steps(config, path.parent, saved)):
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


def _more_steps(config: Any, workdir: Path, saved: dict[str, Any]) -> list[str]:
    """Returns the fields of steps that may be higher now than they were."""
    found = []
    for name in reversed(config.get("phases", ())):
        field, steps = f"train.{name}.steps", config.train[name].steps
        before = saved.get(f"config.{field}")
        if isinstance(before, int) and before < steps:
            found.append(field)
        if checkpoint.steps(checkpoint.phase_folder(workdir, name)):
            break  # the phases before it have had their last word
    return found


def _flat(tree: dict[str, Any], prefix: str = "config") -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}.{key}"
        rows.update(_flat(value, name) if isinstance(value, dict) else {name: value})
    return rows
