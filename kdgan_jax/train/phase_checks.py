"""Checks the description of one phase and returns it as typed parts; `checks` calls it for each."""

import dataclasses
import math
from typing import Any

from kdgan_jax import losses, models
from kdgan_jax.config import LR_SCHEDULES, STORED, spec
from kdgan_jax.config.settings import (
    BatchConfig,
    DiscriminatorConfig,
    LossConfig,
    OptimizerConfig,
    PhaseConfig,
    TeacherConfig,
)
from kdgan_jax.formats import foreign
from kdgan_jax.losses.term import EMA
from kdgan_jax.runtime.errors import UserError, pick
from kdgan_jax.train import optim
from kdgan_jax.workdir.metrics import NO_LOSSES

OR_FRESH = " or fresh"  # ends a phase's `start`
IMAGES = "lr", "hr"  # what a teacher may read
TAKEN = *NO_LOSSES, "discriminator"  # columns of the log, which cannot be labels of losses


def checked(config: Any, name: str, number: int) -> PhaseConfig:
    """Checks the description of a phase and how it fits the earlier ones, and returns its parts.

    Args:
      config: whole, with the HR patches of its phases.
      name: of the phase, in `config.train`.
      number: its place in `config.phases`.

    Raises:
      UserError: a value is invalid; the message has the field, the value and what is allowed.
    """
    field = f"config.train.{name}"
    settings = pick(dict(config.train.items()), name, "config.phases")
    _check_numbers(settings, field, config.scale)
    earlier = tuple(config.phases[:number])
    networks = {n: v for n, v in config.items() if hasattr(v, "keys") and "network" in v}
    description = pick(networks, settings.network, f"{field}.network")
    network = spec.parse(description.network, f"config.{settings.network}.network")
    models.generator(
        *(network.name, network.options, config.scale),
        field=f"config.{settings.network}.network",
        dtype=config.dtype,
    )
    if not all(map(foreign.plausible, network.options.values())):
        raise UserError(
            f"config.{settings.network}.network={description.network!r} has a number above"
            f" {foreign.LARGEST}, which checkpoints may not have; choose a smaller one"
        )
    used_losses = _losses(settings, field)
    targets = _targets(used_losses)
    teachers = {
        label: _teacher(teacher, earlier, config, f"{field}.teachers.{label}")
        for label, teacher in settings.teachers.items()
        if label in targets  # a teacher that no loss uses need not exist
    }
    start = settings.start.removesuffix(OR_FRESH)
    _check_model_path(start, earlier, config, f"{field}.start")
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
        weight_decay=settings.weight_decay,
    )
    return PhaseConfig(
        name=name,
        network=settings.network,
        spec=network,
        checkpoint="" if start else description.checkpoint,
        start=start,
        start_if_fits=settings.start.endswith(OR_FRESH),
        teachers=teachers,
        losses=used_losses,
        discriminator=_discriminator(settings, used_losses, optimizer, config.dtype, field),
        batches=BatchConfig(settings.steps, settings.batch, settings.hr_patch),
        needs_hr=_needs_hr(used_losses, teachers),
        optimizer=optimizer,
        ema_decay=settings.ema_decay,
        dtype=config.dtype,
        number=number,
        level=settings.level,
        mixup=settings.mixup,
        dropout=_dropout(settings.dropout, f"{field}.dropout"),
    )


def must(valid: bool, field: str, value: object, wanted: str) -> None:
    """Raises a UserError that `field` has a `value` that is not as `wanted`, if it is not valid."""
    if not valid:
        raise UserError(f"{field}={value} must be {wanted}")


def _check_numbers(settings: Any, field: str, scale: int) -> None:
    """Checks the numbers of a phase's description."""
    for name in ("steps", "batch", "reference_batch", "hr_patch"):
        must(settings[name] >= 1, f"{field}.{name}", settings[name], "at least 1")
    if settings.steps * settings.batch >= 2**32:
        raise UserError(
            f"{field}.steps={settings.steps} times batch={settings.batch} must be below 2**32"
        )
    rates = {
        "learning_rate": settings.learning_rate,
        "discriminator.learning_rate": settings.discriminator.learning_rate,
    }
    for name, rate in rates.items():
        must(0 < rate < math.inf, f"{field}.{name}", rate, "a finite number above 0, such as 1e-4")
    for name, (value, highest) in {
        "final_fraction": (settings.final_fraction, 1),
        "warmup_steps": (settings.warmup_steps, settings.steps - 1),
        "discriminator.warmup_steps": (
            settings.discriminator.warmup_steps,
            settings.steps - 1,
        ),
    }.items():
        must(0 <= value <= highest, f"{field}.{name}", value, f"from 0 to {highest}")
    clip, decay = settings.clip_norm, settings.ema_decay
    must(0 <= clip < math.inf, f"{field}.clip_norm", clip, "a finite number, 0 or more")
    for name in "weight_decay", "mixup", "level":
        must(0 <= settings[name] < math.inf, f"{field}.{name}", settings[name], "0 or more")
    if settings.mixup and settings.batch % 2:
        raise UserError(
            f"{field}.mixup mixes pairs of patches, and {field}.batch={settings.batch} is odd;"
            " choose an even number"
        )
    must(0 <= decay < 1, f"{field}.ema_decay", decay, "from 0 and below 1, such as 0.999")
    # The command line also accepts words.
    betas, milestones = tuple(settings.betas), tuple(settings.milestones)
    are_two = len(betas) == 2 and _are_fractions(betas)
    must(are_two, f"{field}.betas", betas, "2 numbers from 0 and below 1, such as 0.9,0.99")
    must(
        _are_fractions(milestones) and sorted(set(milestones)) == list(milestones),
        f"{field}.milestones",
        milestones,
        "fractions of the steps in ascending order, from 0 and below 1, such as 0.5,0.75",
    )
    if settings.hr_patch % scale:
        raise UserError(
            f"{field}.hr_patch={settings.hr_patch} is not divisible by config.scale={scale};"
            " choose a multiple of it"
        )
    pick(dict.fromkeys(LR_SCHEDULES), settings.schedule, f"{field}.schedule")


def _are_fractions(values: tuple[Any, ...]) -> bool:
    return all(isinstance(x, int | float) and 0 <= x < 1 for x in values)


def _dropout(text: str, field: str) -> tuple[str, float] | None:
    """Returns the feature and the rate of a text such as "conv5:rate=0.1", None for ""."""
    if not text:
        return None
    name, options = spec.parse(text, field)
    rate = options.get("rate")
    if list(options) != ["rate"] or not isinstance(rate, float) or not 0 < rate < 1:
        raise UserError(
            f"{field}={text!r} must be a feature and a rate between 0 and 1, such as conv5:rate=0.1"
        )
    return name, rate


def _check_model_path(name: str, earlier: tuple[str, ...], config: Any, field: str) -> None:
    """Raises a UserError if `name` is a phase that does not run earlier; other names are paths."""
    if name in config.train and name not in earlier:
        raise UserError(
            f"{field}={name!r} is a phase that does not run before this one (earlier phases:"
            f" {', '.join(earlier) or 'none'}); add it to config.phases before this one, or name"
            " an earlier phase or a file"
        )


def _teacher(settings: Any, earlier: tuple[str, ...], config: Any, field: str) -> TeacherConfig:
    model = settings.model
    if model not in config.train and hasattr(config.get(model), "checkpoint"):
        model = config[model].checkpoint
        if not model:
            raise UserError(
                f"config.{settings.model}.checkpoint is empty; name the model to distil, such as a"
                " file of weights or the --workdir of a run"
            )
    if not model:
        raise UserError(f"{field}.model is empty; name an earlier phase or a file")
    _check_model_path(model, earlier, config, f"{field}.model")
    pick(dict.fromkeys(IMAGES), settings.reads, f"{field}.reads")
    pick(dict.fromkeys(STORED), settings.stored, f"{field}.stored")
    if settings.stored and settings.reads != "lr":
        raise UserError(
            f"{field}.stored={settings.stored!r}: only images made from LR are stored; set"
            f" {field}.reads to 'lr', or leave stored empty"
        )
    if settings.stored and not config.data.copies:
        raise UserError(
            f"{field}.stored={settings.stored!r}: config.data.copies=0 makes new LR patches in"
            " every step, so no image of a teacher can be stored; set stored to '', or copies to 1"
            " or more"
        )
    if settings.ensemble and not settings.stored:
        raise UserError(f"{field}.ensemble=True needs {field}.stored; set it to 'uint8'")
    return TeacherConfig(model, settings.reads, settings.stored, settings.ensemble)


def _needs_hr(used: dict[str, LossConfig], teachers: dict[str, TeacherConfig]) -> bool:
    """Returns whether a phase reads HR images."""
    return "hr" in _targets(used) | {teacher.reads for teacher in teachers.values()}


def _targets(used: dict[str, LossConfig]) -> set[str]:
    """Returns the names of all images and teachers that losses compare with."""
    terms = (
        spec.build(losses.TERMS, *loss.kind, label, target=loss.target)
        for label, loss in used.items()
    )
    return {name for term in terms for name in term.targets}


def _losses(settings: Any, field: str) -> dict[str, LossConfig]:
    """Returns the losses of a phase whose weight is not 0, by label."""
    teachers, used = dict(settings.teachers.items()), {}
    if EMA in teachers:
        raise UserError(
            f"{field}.teachers.{EMA}: {EMA!r} is the average of the network that is trained; choose"
            " another label"
        )
    for label, description in settings.losses.items():
        where = f"{field}.losses.{label}"
        if label in TAKEN:
            raise UserError(
                f"{where}: the label {label!r} is a column of the log; choose another label"
            )
        loss = _loss(description, where)
        term = spec.build(losses.TERMS, *loss.kind, f"{where}.kind", target=loss.target)
        term.check(settings.hr_patch, f"{where}.kind")
        if not loss.weight:
            continue
        for target in term.targets:
            if target == loss.target or target != "hr":
                _check_target(term, target, teachers, where, field)
        used[label] = loss
    if not used:
        raise UserError(
            f"{field}.losses: the phase needs a loss whose weight is not 0 (its losses:"
            f" {', '.join(settings.losses) or 'none'})"
        )
    if {loss.target for loss in used.values()} == {EMA}:
        raise UserError(
            f"{field}.losses: all targets are {EMA!r}, the network itself, which teaches nothing;"
            " add a loss with another target"
        )
    return used


def _check_target(
    term: losses.Term, target: str, teachers: dict[str, Any], where: str, field: str
) -> None:
    """Checks that a loss can compare with a target.

    Args:
      term: the loss.
      target: one of its targets.
      teachers: descriptions of the phase's teachers.
      where: the field of the loss.
      field: the field of the phase.
    """
    named = f"{where}.target" if target == term.target else f"{where}.kind: target"
    if term.of_teacher and target not in teachers:
        raise UserError(
            f"{named}={target!r} must be a teacher of the phase"
            f" ({', '.join(teachers) or 'it has none'}); name one in {field}.teachers"
        )
    if not term.of_teacher:
        pick(dict.fromkeys(("hr", EMA, *teachers)), target, named)
    if target not in teachers:
        return
    if not term.of_image and teachers[target].stored:
        raise UserError(
            f"{where} needs the teacher {target!r} in every step, but only its images of the"
            f" photos are stored; set {field}.teachers.{target}.stored to ''"
        )
    if term.of_image and teachers[target].reads == "hr":
        raise UserError(
            f"{named}={target!r} is a teacher that reads HR, so its images have another size; use"
            f" its features, or set {field}.teachers.{target}.reads to 'lr'"
        )


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
    adversarial = [
        label
        for label, loss in used.items()
        if "discriminator" in losses.TERMS[loss.kind.name].needs
    ]
    if not adversarial:
        return None
    if len(adversarial) > 1:
        raise UserError(
            f"{field}.losses: {' and '.join(adversarial)} are adversarial, but there is only one"
            " discriminator; keep one of them"
        )
    description, where = settings.discriminator, f"{field}.discriminator"
    network = spec.parse(description.network, f"{where}.network")
    models.discriminator(network.name, network.options, field=f"{where}.network", dtype=dtype)
    regularizers = {}
    for label, regularizer in description.regularizers.items():
        if label in TAKEN or label in used:
            raise UserError(
                f"{where}.regularizers.{label}: the label is taken by a loss or a column of the"
                " log; choose another label"
            )
        loss = _loss(regularizer, f"{where}.regularizers.{label}")
        spec.build(losses.REGULARIZERS, *loss.kind, f"{where}.regularizers.{label}.kind")
        if loss.weight:
            regularizers[label] = loss
    return DiscriminatorConfig(
        network=network,
        adversarial_loss=adversarial[0],
        optimizer=dataclasses.replace(optimizer, learning_rate=description.learning_rate),
        warmup_steps=description.warmup_steps,
        regularizers=regularizers,
    )
