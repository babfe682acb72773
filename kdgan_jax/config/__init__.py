"""What a run can be told: every field with its default and meaning.

Those of `config.data`, and of what is due when, are in `kdgan_jax.config.settings`.

A config describes a run as phases under names of its author's choice: what each trains, from what,
with which teachers, losses and discriminator. Files in `configs/` make one with `default` and the
functions below; the command line changes fields (`--config.train.distill.steps=500`). The whole is
locked: an unknown field is refused.

Networks, losses and schedules are texts such as "compact:channels=32,depth=4", the entry of a table
and its options (`kdgan_jax.config.spec`), so that another one with other options fits into the
field.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ml_collections import ConfigDict

from kdgan_jax.config.settings import DataConfig, LoopConfig
from kdgan_jax.runtime.errors import UserError, pick

LR_SCHEDULES = "constant", "cosine", "halving"
BACKENDS = "auto", "device", "tfdata"
SAMPLING = "pixels", "images"
LR_SCALING = "none", "linear", "sqrt"
FIELDS = "seed", "scale", "phases", "train", "data"  # that tell a config of a run from others


def network(text: str, checkpoint: str = "") -> ConfigDict:
    """Returns the description of a network.

    Args:
      text: an entry of `kdgan_jax.models.GENERATORS` and its arguments.
      checkpoint: a model to take in place of training one, as `load` takes it: the phase that
        would train the network from fresh weights takes it over. "" trains one.
    """
    return ConfigDict({"network": text, "checkpoint": checkpoint})


def loss(kind: str, weight: float, target: str = "hr", schedule: str = "constant") -> ConfigDict:
    """Returns the description of a loss, or of a regulariser.

    Args:
      kind: an entry of `kdgan_jax.losses.TERMS` (or REGULARIZERS) and its options.
      weight: what it is multiplied by; at 0 it is not computed.
      target: the image that it compares with: "hr", or the name of a teacher of the phase. For an
        adversarial loss, the images that are real. Regularisers have none.
      schedule: the weight's course, an entry of `kdgan_jax.losses.SCHEDULES` and its options: the
        weight is multiplied by it at every step.
    """
    return ConfigDict(
        {"kind": kind, "weight": float(weight), "target": target, "schedule": schedule}
    )


def teacher(model: str, reads: str = "lr") -> ConfigDict:
    """Returns the description of a teacher.

    Args:
      model: an earlier phase, or a model as `load` takes it.
      reads: the image that it is shown: "lr", or "hr" for a privileged one, whose features are all
        that is used.
    """
    return ConfigDict({"model": model, "reads": reads})


def discriminator(
    text: str = "origin",
    *,
    learning_rate: float = 1e-4,
    warmup_steps: int = 0,
    regularizers: Mapping[str, ConfigDict] | None = None,
) -> ConfigDict:
    """Returns the description of a discriminator; it is trained if a loss needs it.

    Args:
      text: an entry of `kdgan_jax.models.DISCRIMINATORS` and its arguments.
      learning_rate: its own; the rest of its optimiser is the phase's.
      warmup_steps: steps in which it trains alone.
      regularizers: by label.
    """
    return ConfigDict(
        {
            "network": text,
            "learning_rate": float(learning_rate),
            "warmup_steps": warmup_steps,
            "regularizers": ConfigDict(dict(regularizers or {})),
        }
    )


def phase(
    network: str = "student",
    *,
    losses: Mapping[str, ConfigDict],
    start: str = "",
    teachers: Mapping[str, ConfigDict] | None = None,
    discriminator: ConfigDict | None = None,
    **changes: Any,
) -> ConfigDict:
    """Returns the description of one phase of training.

    Its learning rates are taken to be written for its batch, as it is here.

    Args:
      network: the field of the config that describes what it trains. It is also the role under
        which `load` finds the result: "runs/kd:student".
      losses: by label, under which they are logged.
      start: what the weights start from: "" draws fresh ones; an earlier phase; or a model as
        `load` takes it, whose architecture is then the phase's.
      teachers: by the names that losses use as targets.
      discriminator: what the adversarial loss plays against.
      changes: other fields.

    Raises:
      KeyError: a name in `changes` is no field.
    """
    for name in changes:
        if name in NOW:
            raise UserError(f"{name} of a phase is now called {NOW[name]}")
    fields = {
        "network": network,
        "start": start,
        "teachers": ConfigDict(dict(teachers or {})),
        "losses": ConfigDict(dict(losses)),
        "discriminator": discriminator or _discriminator(),
        "steps": 1000,  # updates
        "batch": 16,  # images over all devices
        "reference_batch": 16,  # those that learning rates are for: see optim.lr_scaling
        "hr_patch": 96,  # side of the HR patch, a multiple of the scale
        "learning_rate": 1e-3,
        "betas": (0.9, 0.99),  # Adam
        "schedule": "cosine",  # one of LR_SCHEDULES
        "final_fraction": 0.0,  # of the learning rate, where "cosine" ends
        "milestones": (),  # fractions of steps at which "halving" halves
        "warmup_steps": 0,  # linear rise of the learning rate from 0
        "clip_norm": 0.0,  # largest global gradient norm; 0 does not clip
        "ema_decay": 0.999,  # of the evaluated weights; warmed up, so short runs are fair
    }
    config = ConfigDict(fields)
    config.lock()
    config.update({"reference_batch": changes.get("batch", config.batch), **changes})
    return config


_discriminator = discriminator  # inside `phase`, an argument has its name


def default(
    networks: Mapping[str, ConfigDict] | None = None,
    phases: Mapping[str, ConfigDict] | None = None,
) -> ConfigDict:
    """Returns a config; sizes suit a laptop.

    Args:
      networks: by name; None is a teacher and a student.
      phases: by name, in the order in which they run; None is a teacher, its distillation into a
        student, and the student's adversarial refinement.
    """
    networks, phases = networks or usual_networks(), phases or usual_phases()
    config = ConfigDict()
    config.seed = 0  # of weights and batches
    config.scale = 4  # enlargement: 2, 3 or 4
    config.devices = 0  # to train on; 0: all (on a CPU as many as divide the batches)
    config.phases = tuple(phases)  # which to run, in this order
    config.dtype = "float32"  # that convolutions of trained networks compute in; or "bfloat16"

    config.data = ConfigDict(asdict(DataConfig()))

    # Learning rates of a phase are multiplied by 1 ("none"), by its batch over its reference_batch
    # ("linear"), or by the root of that ("sqrt"); see train.optim.rate_factor.
    config.optim = ConfigDict()
    config.optim.lr_scaling = "none"  # one of LR_SCALING

    for name, description in networks.items():
        config[name] = description
    config.train = ConfigDict(dict(phases))

    config.update(asdict(LoopConfig()))
    config.lock()
    return config


def usual_networks() -> dict[str, ConfigDict]:
    """Returns a teacher and a student for minutes on a laptop."""
    return {
        "teacher": network("compact:channels=64,depth=6"),
        "student": network("compact:channels=32,depth=4"),
    }


def usual_phases() -> dict[str, ConfigDict]:
    """Returns the teacher, its distillation, and the student's adversarial refinement."""
    return {"teacher": teach(), "distill": distill(), "adversarial": refine()}


def teach(**changes: Any) -> ConfigDict:
    """Returns a phase that trains the network "teacher" by L1 to HR."""
    return phase("teacher", losses={"pixel": loss("l1", 1.0)}, **changes)


def distill(**changes: Any) -> ConfigDict:
    """Returns a phase that trains the student half on HR and half on the phase "teacher"."""
    losses = {"pixel": loss("l1", 0.5), "distill": loss("l1", 0.5, target="teacher")}
    return phase(losses=losses, teachers={"teacher": teacher("teacher")}, **changes)


def refine(start: str = "distill", **changes: Any) -> ConfigDict:
    """Returns a phase that refines the student of the phase `start` against a discriminator."""
    fields = {
        "losses": {
            "pixel": loss("l1", 1e-2),
            "distill": loss("l1", 1e-2, target="teacher"),
            "perceptual": loss("perceptual", 1.0),
            "adversarial": loss("relativistic", 5e-3),
        },
        "teachers": {"teacher": teacher("teacher")},
        "discriminator": discriminator(),
    }
    return phase(start=start, **{**fields, **changes})


def teach_edsr_baseline() -> ConfigDict:
    """Returns a phase that trains EDSR-baseline as published (Lim et al. 2017)."""
    return teach(
        steps=300_000,
        hr_patch=192,
        learning_rate=1e-4,
        betas=(0.9, 0.999),
        schedule="halving",
        milestones=(2 / 3,),
    )


def on_given_photos(config: ConfigDict) -> None:
    """Makes a config one for long runs, on photos that the command line names."""
    config.data.source = ""
    config.data.memory_mb = 16384
    config.log_every = 100
    config.evaluate_every = config.checkpoint_every = 5000


def refuse_unknown(variant: str, known: tuple[str, ...]) -> None:
    """Raises a UserError unless `variant` (after the colon of --config) is "" or known."""
    if variant:
        pick(dict.fromkeys(known), variant, "the config's variant")


def to_json(config: Any) -> dict[str, Any]:
    """Returns the config as JSON values (tuples become lists)."""
    return json.loads(json.dumps(config.to_dict()))


# Fields that had other names before version 0.2, and where they are now. A field of a phase is
# named without "train.NAME.".
NOW = {
    "teacher.name": "teacher.network, such as compact:channels=64,depth=6",
    "teacher.kwargs": "teacher.network, such as compact:channels=64,depth=6",
    "student.name": "student.network, such as compact:channels=32,depth=4",
    "student.kwargs": "student.network, such as compact:channels=32,depth=4",
    "discriminator.name": "train.adversarial.discriminator.network",
    "discriminator.kwargs": "train.adversarial.discriminator.network, such as origin:hidden=512",
    "discriminator_learning_rate": "discriminator.learning_rate",
    "discriminator_warmup_steps": "discriminator.warmup_steps",
    "pixel": "losses.pixel.kind",
    "pixel_weight": "losses.pixel.weight",
    "distill": "losses.distill.kind",
    "distill_weight": "losses.distill.weight",
    "blend_alpha": "losses.LABEL.kind, such as blend:alpha=0.5",
    "blend_weight": "losses.LABEL.weight of a loss of kind blend",
    "perceptual_layers": "losses.perceptual.kind, such as perceptual:layers=(conv2_2,conv3_3)",
    "perceptual_weight": "losses.perceptual.weight",
    "adversarial": "losses.adversarial.kind",
    "adversarial_weight": "losses.adversarial.weight",
}


def renamed(field: str) -> str:
    """Returns what a field of an older version is called now, without "config.", or ""."""
    words = field.removeprefix("config.").split(".")
    if words[:1] == ["train"] and len(words) > 2:
        where, rest = ".".join(words[:2]) + ".", words[2:]
        return where + NOW[rest[0]] if len(rest) == 1 and rest[0] in NOW else ""
    return NOW.get(".".join(words[:2]), "")
