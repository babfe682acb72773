"""Checks a whole config once, when a command starts, and returns it as typed parts."""

import copy
import dataclasses
import math
from collections.abc import Iterable
from typing import Any, TypeVar, cast

from ml_collections import ConfigDict

from kdgan_jax import models
from kdgan_jax.config import BACKENDS, LR_SCALING, SAMPLING, to_json
from kdgan_jax.config.settings import DataConfig, LoopConfig, PhaseConfig, RunConfig
from kdgan_jax.data import degradations
from kdgan_jax.data.sources import entries
from kdgan_jax.evaluation import metrics
from kdgan_jax.runtime.errors import UserError, pick
from kdgan_jax.train import phase_checks
from kdgan_jax.train.phase_checks import must

Part = TypeVar("Part", DataConfig, LoopConfig)


def checked(config: Any) -> RunConfig:
    """Checks all values of a config and how they fit together, and returns its parts.

    Args:
      config: a ConfigDict of `kdgan_jax.config.default`, or one read back from JSON.

    Raises:
      UserError: a value is invalid; the message has the field, the value and what is allowed.
    """
    if config.scale not in models.SCALES:
        raise UserError(
            f"config.scale={config.scale} is not supported; choose one of {models.SCALES}"
        )
    config = _with_patches(config)
    _check_choices(config)
    if not config.data.source:
        raise UserError(
            "config.data.source is empty; name folders of photos, 'tfds:NAME' or 'embedded'"
        )
    for field in ("max_bad_steps", "log_every", "evaluate_every", "checkpoint_every"):
        must(config[field] >= 1, f"config.{field}", config[field], "at least 1")
    measured = tuple(config.get("holdout_metrics", ("psnr_y",)))  # older runs have no such field
    metrics.check(measured)
    must("psnr_y" in measured, "config.holdout_metrics", measured, "metrics with psnr_y")
    bad = config.data.max_bad_fraction
    must(0 <= bad <= 1, "config.data.max_bad_fraction", bad, "from 0 to 1")
    _check_copies(config)
    _check_weights(config)
    must(0 <= config.minutes < math.inf, "config.minutes", config.minutes, "0 or more")
    must(config.steps_per_call >= 0, "config.steps_per_call", config.steps_per_call, "0 or more")
    if config.steps_per_call > 1 and (config.data.backend == "tfdata" or not config.data.copies):
        raise UserError(
            f"config.steps_per_call={config.steps_per_call} needs config.data.backend='device' and"
            " copies: the host supplies one batch at a time"
        )
    if not config.phases:
        raise UserError(f"config.phases is empty; choose from {tuple(config.train)}")
    if len(set(config.phases)) < len(config.phases):
        raise UserError(f"config.phases={tuple(config.phases)} must name each phase only once")
    phases = tuple(
        phase_checks.checked(config, str(name), i) for i, name in enumerate(config.phases)
    )
    if not config.refine:
        phases = tuple(phase for phase in phases if phase.discriminator is None)
        must(bool(phases), "config.refine", False, "True: all phases have a discriminator")
    _check_crop(config, phases)
    return RunConfig(
        seed=config.seed,
        scale=config.scale,
        devices=config.devices,
        phases=phases,
        data=_part(DataConfig, config.data),
        loop=_part(LoopConfig, config),
        saved=to_json(config),
        minutes=config.minutes,
    )


def _with_patches(config: ConfigDict) -> ConfigDict:
    """Returns the config with the HR patch of every phase that gives an LR patch instead."""
    config = copy.deepcopy(config)
    for name, settings in config.train.items():
        if settings.get("lr_patch"):  # older runs have no such field
            patch = settings.lr_patch
            must(patch >= 0, f"config.train.{name}.lr_patch", patch, "0 or more")
            settings.hr_patch = settings.lr_patch * config.scale
    return config


def _part(part: type[Part], config: Any) -> Part:
    """Returns the dataclass `part` with its fields taken from `config`."""
    values = {field.name: config[field.name] for field in dataclasses.fields(cast(Any, part))}
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return part(**values | lists)  # JSON has lists


def _check_choices(config: Any) -> None:
    for field, known in {
        "data.backend": BACKENDS,
        "data.sampling": SAMPLING,
        "data.plain": ("hr", "lr"),
        "optim.lr_scaling": LR_SCALING,
        "dtype": models.DTYPES,
    }.items():
        value = config
        for word in field.split("."):
            value = value[word]
        pick(dict.fromkeys(known), value, f"config.{field}")


def _check_copies(config: Any) -> None:
    """Checks the fields of `config.data` about copies of photos."""
    for level in str(config.data.degradation).split(","):
        pick(dict.fromkeys(degradations.LEVELS), level.strip(), "config.data.degradation")
    for field, smallest in {
        "copies": 0,
        "holdout_copies": 1,
        "crop": 0,
        "most": 0,
        "complement": 0,
        "labels_mb": 1,
    }.items():
        value = config.data[field]
        must(value >= smallest, f"config.data.{field}", value, f"at least {smallest}")
    if not config.data.copies:
        _check_fresh(config)


def _check_crop(config: Any, phases: Iterable[PhaseConfig]) -> None:
    """Checks that the patches of all phases fit into copies of photos."""
    largest = max(phase.batches.hr_patch for phase in phases)
    if 0 < config.data.crop * config.scale < largest:
        raise UserError(
            f"config.data.crop={config.data.crop} LR pixels are less than the HR patch {largest};"
            f" make it at least {-(-largest // config.scale)}"
        )


def _check_fresh(config: Any) -> None:
    """Checks what goes with LR patches that are degraded on the fly."""
    values = {name: config.data[name] for name in ("backend", "crop", "recolour", "degradation")}
    levels = {level.strip() for level in values["degradation"].split(",")}
    for name, wrong, advice in (
        ("backend", values["backend"] == "device", "leave it at 'auto', or set it to 'tfdata'"),
        ("crop", values["crop"] > 0, "set it to 0: patches are cut out of whole photos"),
        ("recolour", values["recolour"], "set it to False"),
        ("degradation", levels == {"none"}, "name a level that degrades, such as 'strong'"),
    ):
        if wrong:
            raise UserError(
                "config.data.copies=0 degrades samples on the fly, on the host, which does not go"
                f" with config.data.{name}={values[name]!r}; {advice}, or set copies to 1 or more"
            )


def _check_weights(config: Any) -> None:
    weights, source = tuple(config.data.weights), config.data.source
    # A prepared file replaces the source, and says itself how many entries it has.
    number = len(weights) if config.data.prepared else len(entries(source))
    positive = all(isinstance(w, int | float) and 0 < w < math.inf for w in weights)
    if weights and (len(weights) != number or not positive):
        raise UserError(
            f"config.data.weights={weights} must be a number above 0 for each of the {number}"
            f" entries of config.data.source={source!r}"
        )
