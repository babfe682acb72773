"""The description of a run: every field of a config, with its default and meaning.

The fields of `config.data` and the intervals of the training loop are in
`kdgan_jax.config.settings`.

A config describes a run as phases, under names of the author's choice: what each phase trains, from
which weights, with which teachers, losses and discriminator. Files in `configs/` build one with
`default` and the functions below. The command line changes fields
(`--config.train.distill.steps=500`). The config is locked: unknown fields are refused.

Networks, losses and schedules are texts such as "compact:channels=32,depth=4", an entry of a table
and its options (see `kdgan_jax.config.spec`), so that one field can name another entry together
with its options.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from operator import attrgetter
from typing import Any

from ml_collections import ConfigDict

from kdgan_jax.config.settings import DataConfig, LoopConfig
from kdgan_jax.runtime.errors import UserError, pick

LR_SCHEDULES = "constant", "cosine", "halving"
BACKENDS = "auto", "device", "tfdata"
SAMPLING = "pixels", "images"
STORED = "", "uint8", "float16"  # forms of a teacher's outputs; "" does not store them
LR_SCALING = "none", "linear", "sqrt"
FIELDS = "seed", "scale", "phases", "train", "data"  # tell the config of a run from other configs


def network(text: str, checkpoint: str = "") -> ConfigDict:
    """Returns the description of a network.

    Args:
      text: an entry of `kdgan_jax.models.GENERATORS` and its arguments.
      checkpoint: a model, as `load` takes it, that replaces the phase which would train this
        network from fresh weights; "" trains the network.
    """
    return ConfigDict({"network": text, "checkpoint": checkpoint})


def loss(kind: str, weight: float, target: str = "hr", schedule: str = "constant") -> ConfigDict:
    """Returns the description of a loss or a regulariser.

    Args:
      kind: an entry of `kdgan_jax.losses.TERMS` (or REGULARIZERS) and its options.
      weight: multiplies the loss; a loss of weight 0 is not computed.
      target: the image that the output is compared with: "hr", the name of a teacher of the phase,
        or "ema", the network with its averaged weights. For an adversarial loss, the real images.
        Regularisers ignore it.
      schedule: an entry of `kdgan_jax.losses.SCHEDULES` and its options; multiplies the weight at
        every step.
    """
    return ConfigDict(
        {"kind": kind, "weight": float(weight), "target": target, "schedule": schedule}
    )


def teacher(model: str, reads: str = "lr", stored: str = "", ensemble: bool = False) -> ConfigDict:
    """Returns the description of a teacher.

    Args:
      model: an earlier phase, a network of the config that has a checkpoint, or a model as `load`
        takes it.
      reads: its input image: "lr", or "hr" for a privileged teacher, of which only the features
        are used.
      stored: "" runs the teacher in every step. "uint8" or "float16" computes its image of every
        photo once, before training, and stores it: a step then costs nothing more. Only images are
        stored, so losses on features need "".
      ensemble: whether a stored image is the mean over the eight flips and rotations.
    """
    return ConfigDict({"model": model, "reads": reads, "stored": stored, "ensemble": ensemble})


def discriminator(
    text: str = "origin",
    *,
    learning_rate: float = 1e-4,
    warmup_steps: int = 0,
    regularizers: Mapping[str, ConfigDict] | None = None,
) -> ConfigDict:
    """Returns the description of a discriminator; it is trained only if a loss needs it.

    Args:
      text: an entry of `kdgan_jax.models.DISCRIMINATORS` and its arguments.
      learning_rate: its own; its other optimiser settings are those of the phase.
      warmup_steps: first steps, in which it trains alone.
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

    The learning rates are taken as written for the batch size given here.

    Args:
      network: the config field of the network to train. `load` finds the result under the same
        name: "runs/kd:student".
      losses: by label; the log uses the labels.
      start: where the weights come from: "" (fresh), an earlier phase, or a model as `load` takes
        it, which then also sets the phase's architecture. "MODEL or fresh" takes the model only if
        it has the scale and the architecture of the phase's network.
      teachers: by name; losses refer to them as targets.
      discriminator: the opponent in the adversarial loss.
      changes: values of other fields.

    Raises:
      KeyError: `changes` names an unknown field.
      UserError: `changes` names a field of an older version.
    """
    for name in changes:
        if name in RENAMED:
            raise UserError(f"{name} of a phase is now called {RENAMED[name]}; use that name")
    fields = {
        "network": network,
        "start": start,
        "teachers": _copies(teachers or {}),
        "losses": _copies(losses),
        "discriminator": discriminator or _discriminator(),
        "steps": 1000,  # updates
        "batch": 16,  # images over all devices
        "reference_batch": 16,  # for which learning rates are written: see optim.lr_scaling
        "hr_patch": 96,  # side of the HR patch in pixels, a multiple of the scale
        "lr_patch": 0,  # if not 0, hr_patch is the scale times this
        "learning_rate": 1e-3,  # of Adam, at its peak
        "betas": (0.9, 0.99),  # decay of Adam's two means
        "schedule": "cosine",  # one of LR_SCHEDULES
        "final_fraction": 0.0,  # of the learning rate, at the end of "cosine"
        "milestones": (),  # fractions of the steps at which "halving" halves
        "warmup_steps": 0,  # in which the learning rate rises linearly from 0
        "clip_norm": 0.0,  # largest global gradient norm; 0 does not clip
        "weight_decay": 0.0,  # of kernels, relative to the learning rate (AdamW)
        "mixup": 0.0,  # mixes pairs of patches, by shares drawn from Beta(mixup, mixup)
        # Drops channels of a feature of the network, such as "conv5:rate=0.1"; "" drops none.
        "dropout": "",
        # Of the mesh when it is taken out of the finished network, by least squares towards HR; 0
        # leaves it.
        "level": 0.0,
        "ema_decay": 0.999,  # of the evaluated weights; lower at first, which suits short runs
    }
    config = ConfigDict(fields)
    config.lock()
    config.update({"reference_batch": changes.get("batch", config.batch), **changes})
    return config


def _copies(descriptions: Mapping[str, ConfigDict]) -> ConfigDict:
    """Returns copies, so that a field changes in one phase where several share a description."""
    return ConfigDict({k: part.copy_and_resolve_references() for k, part in descriptions.items()})


_discriminator = discriminator  # the argument of `phase` hides the function


def default(
    networks: Mapping[str, ConfigDict] | None = None,
    phases: Mapping[str, ConfigDict] | None = None,
) -> ConfigDict:
    """Returns a config whose sizes suit a laptop.

    Args:
      networks: by name; by default a teacher and a student.
      phases: by name, in the order in which they run; by default the training of the teacher, its
        distillation into the student, and the adversarial refinement of the student.
    """
    networks, phases = networks or default_networks(), phases or default_phases()
    config = ConfigDict()
    config.seed = 0  # of weights and batches
    config.scale = 4  # enlargement: 2, 3 or 4
    # If not 0, copies and steps are chosen so that the whole run takes about this long. For runs of
    # one distillation with stored labels, and at most one phase that refines its student.
    config.minutes = 0.0
    config.devices = 0  # to train on; 0: all (on a CPU, the most that divide the batches)
    config.phases = tuple(phases)  # to run, in this order
    config.refine = True  # whether phases with a discriminator run
    config.dtype = "float32"  # in which the trained networks convolve; or "bfloat16"

    config.data = ConfigDict(asdict(DataConfig()))

    # Multiplies the learning rates of a phase by 1 ("none"), by batch / reference_batch ("linear"),
    # or by the square root of that ("sqrt"); see train.optim.rate_factor.
    config.optim = ConfigDict()
    config.optim.lr_scaling = "none"  # one of LR_SCALING

    for name, description in networks.items():
        config[name] = description
    config.train = ConfigDict(dict(phases))

    config.update(asdict(LoopConfig()))
    config.lock()
    return config


def default_networks() -> dict[str, ConfigDict]:
    """Returns a teacher and a student that train in minutes on a laptop."""
    return {
        "teacher": network("compact:channels=64,depth=6"),
        "student": network("compact:channels=32,depth=4"),
    }


def default_phases() -> dict[str, ConfigDict]:
    """Returns the teacher's training, its distillation, and the student's refinement."""
    return {"teacher": teach(), "distill": distill(), "adversarial": refine()}


def teach(**changes: Any) -> ConfigDict:
    """Returns a phase that trains the network "teacher" with L1 to HR."""
    return phase("teacher", losses={"pixel": loss("l1", 1.0)}, **changes)


def distill(**changes: Any) -> ConfigDict:
    """Returns a phase that trains the student half on HR, half on the phase "teacher"."""
    losses = {"pixel": loss("l1", 0.5), "distill": loss("l1", 0.5, target="teacher")}
    return phase(losses=losses, teachers={"teacher": teacher("teacher")}, **changes)


def imitate(**changes: Any) -> ConfigDict:
    """Returns a phase that trains the student on stored images of the network "teacher" alone."""
    fields = {
        "losses": {"distill": loss("l1", 1.0, target="teacher")},
        "teachers": {"teacher": teacher("teacher", stored="uint8")},
    }
    return phase(**{**fields, **changes})


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


def polish(
    start: str = "distill", target: str = "teacher", *, warmup_steps: int = 20, **changes: Any
) -> ConfigDict:
    """Returns a phase that refines the student of `start` without HR.

    The real images are the teacher's (Yim et al.'s loop, as the origin runs it): its output, its
    fine detail and its VGG features are the targets. The term on the pattern of the pixel shuffle
    keeps out the mesh that such phases leave.

    Args:
      start: an earlier phase, or a model.
      target: "teacher", or "hr" for the same with HR.
      warmup_steps: first steps, in which the discriminator trains alone.
      **changes: other fields of the phase.
    """
    losses = {
        "output": loss("l1", 0.1, target=target),
        "detail": loss("haar", 0.2, target=target),
        "perceptual": loss("perceptual:layers=(conv2_2,conv3_3)", 0.1, target=target),
        "pattern": loss("pattern:window=32", 0.6, target=target),
        "adversarial": loss("relativistic", 3e-2, target=target),
    }
    fields = {
        "batch": 8,
        "hr_patch": 64,
        "learning_rate": 2e-4,
        "losses": losses,
        "teachers": {} if target == "hr" else {"teacher": teacher("teacher", stored="uint8")},
        "discriminator": discriminator("patch", learning_rate=4e-4, warmup_steps=warmup_steps),
    }
    return phase(start=start, **{**fields, **changes})


def teach_edsr_baseline() -> ConfigDict:
    """Returns a phase that trains EDSR-baseline as published (Lim et al., CVPRW 2017)."""
    return teach(
        steps=300_000,
        hr_patch=192,
        learning_rate=1e-4,
        betas=(0.9, 0.999),
        schedule="halving",
        milestones=(2 / 3,),
    )


def set_up_long_run(config: ConfigDict) -> None:
    """Changes a config for a long run, on photos that the command line must name."""
    config.data.source = ""
    config.data.memory_mb = 16384
    config.log_every = 100
    config.evaluate_every = config.checkpoint_every = 5000


def check_variant(variant: str, known: tuple[str, ...]) -> None:
    """Raises a UserError unless `variant` (after the colon of --config) is "" or known."""
    if variant:
        pick(dict.fromkeys(known), variant, "the config's variant")


def check_patches(config: ConfigDict, changes: Mapping[str, Any]) -> None:
    """Checks that no HR patch is set in a phase that gives it as an LR patch.

    The config alone does not tell whether the HR patch was meant.

    Args:
      config: with the changes.
      changes: values by field, such as "train.student.hr_patch".

    Raises:
      UserError: a change of an HR patch has no effect.
    """
    for field, value in changes.items():
        phase, _, name = str(field).removeprefix("config.").rpartition(".")
        if name == "hr_patch" and (patch := attrgetter(phase)(config).get("lr_patch")):
            raise UserError(
                f"config.{phase}.{name}={value} has no effect beside lr_patch={patch}; set"
                f" config.{phase}.lr_patch={int(value) // config.scale} instead"
            )


def to_json(config: Any) -> dict[str, Any]:
    """Returns a config as JSON values; tuples become lists."""
    return json.loads(json.dumps(config.to_dict()))


def from_json(saved: Mapping[str, Any]) -> ConfigDict:
    """Returns the config that a run has saved by `to_json`.

    Fields that did not exist when the run was started have their defaults. Losses, teachers and
    regularisers have none: their labels are the author's choice.

    Raises:
      AttributeError, LookupError, TypeError, ValueError: `saved` is not the config of a run.
    """
    config = ConfigDict(dict(saved))
    for description in config.train.values():
        # Runs from before this field existed did not scale their learning rates.
        _complete(description, phase(losses={}, reference_batch=description.batch))
    others = default().keys() - default_networks().keys()
    networks = {name: config[name] for name in config if name not in others}
    _complete(config, default(networks, config.train))
    return config


def _complete(config: ConfigDict, defaults: ConfigDict) -> None:
    """Adds to a config what it lacks of `defaults`, at any depth."""
    for name, value in defaults.items():
        if name not in config:
            config[name] = value
        elif isinstance(value, ConfigDict):
            _complete(config[name], value)


# Fields that had other names before version 0.2, and their names today. A name without a dot is a
# field of a phase, "train.PHASE." left out.
RENAMED = {
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


def new_name(field: str) -> str:
    """Returns what an older version's field is called now, without "config."; "" for others."""
    words = field.removeprefix("config.").split(".")
    if words[:1] == ["train"] and len(words) > 2:
        phase_field, rest = ".".join(words[:2]) + ".", words[2:]
        return phase_field + RENAMED[rest[0]] if len(rest) == 1 and rest[0] in RENAMED else ""
    return RENAMED.get(".".join(words[:2]), "")
