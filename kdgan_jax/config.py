"""What a run can be told: every field with its default and meaning, variants, checks.

Files in `configs/` start from `default()` and change fields; the command line changes more
(`--config.train.distill.steps=500`). The whole is locked: an unknown field is refused. Another
network with other arguments is chosen in a file, since its arguments are fields of their own.
"""

import json
from pathlib import Path
from typing import Any

import ml_collections

from kdgan_jax.errors import UserError, pick
from kdgan_jax.losses import ADVERSARIAL, PIXEL
from kdgan_jax.models import DISCRIMINATORS, SCALES, discriminator, generator
from kdgan_jax.models.vgg import LAYERS

PHASES = "teacher", "distill", "adversarial"
SCHEDULES = "constant", "cosine", "halving"


def phase(**changes: Any) -> ml_collections.ConfigDict:
    """Returns the settings of one phase of training; `changes` replace defaults.

    Raises:
      KeyError: a name in `changes` is no field.
    """
    config = ml_collections.ConfigDict(
        {
            "steps": 1000,  # updates
            "batch": 16,  # images over all devices
            "hr_patch": 96,  # side of the HR patch, a multiple of the scale
            "learning_rate": 1e-3,
            "betas": (0.9, 0.99),  # Adam
            "schedule": "cosine",  # one of SCHEDULES
            "final_fraction": 0.0,  # of the learning rate, where "cosine" ends
            "milestones": (),  # fractions of steps at which "halving" halves
            "warmup_steps": 0,  # linear rise of the learning rate from 0
            "clip_norm": 0.0,  # largest global gradient norm; 0 does not clip
            "ema_decay": 0.999,  # of the evaluated weights; warmed up, so short runs are fair
            # Discriminator: same optimiser and schedule at its own rate. During its warm-up
            # the generator is not updated.
            "discriminator_learning_rate": 1e-4,
            "discriminator_warmup_steps": 0,
            # Weights of the loss parts; a part of weight 0 is not computed.
            "pixel": "l1",  # kind of distance to the truth
            "pixel_weight": 1.0,
            "distill": "l1",  # kind of distance to the teacher's output
            "distill_weight": 0.0,
            "blend_alpha": 0.5,  # (1 - alpha) RMSE(truth) + alpha RMSE(teacher), the origin's
            "blend_weight": 0.0,
            "perceptual_layers": ("conv3_3",),  # VGG16, before ReLU
            "perceptual_weight": 0.0,
            "adversarial": "relativistic",  # one of bce, least_squares, hinge, relativistic
            "adversarial_weight": 0.0,
        }
    )
    config.lock()
    config.update(changes)
    return config


def default() -> ml_collections.ConfigDict:
    """Returns the settings that all configs share; sizes suit a laptop."""
    config = ml_collections.ConfigDict()
    config.seed = 0  # of weights and batches
    config.scale = 4  # enlargement: 2, 3 or 4
    config.devices = 0  # to train on; 0: all (on a CPU as many as divide the batches)
    config.phases = PHASES  # which to run, in this order

    config.data = ml_collections.ConfigDict()
    # "embedded": photos inside installed packages; "tfds:div2k/bicubic_x4"; or folders, separated
    # by commas, of HR images at any depth (or of HR/ and LRx4/).
    config.data.source = "embedded"
    config.data.holdout = 8  # photos of the folders held out for the run's own evaluation
    # Megabytes that decoded photos may take (twice that while starting); else they are decoded on
    # the fly.
    config.data.memory_mb = 4096
    config.data.max_bad_fraction = 0.2  # of unusable files, beyond which the run stops

    config.teacher = ml_collections.ConfigDict()
    config.teacher.checkpoint = ""  # a run's workdir to load the teacher from; "" trains one
    config.teacher.name = "compact"
    config.teacher.kwargs = ml_collections.ConfigDict({"features": 64, "depth": 6})
    config.student = ml_collections.ConfigDict()
    config.student.name = "compact"
    config.student.kwargs = ml_collections.ConfigDict({"features": 32, "depth": 4})
    config.discriminator = ml_collections.ConfigDict()
    config.discriminator.name = "origin"
    config.discriminator.kwargs = ml_collections.ConfigDict()

    # Phases. The student of "adversarial" starts from the one of "distill" where there is one.
    config.train = ml_collections.ConfigDict()
    config.train.teacher = phase()
    config.train.distill = phase(pixel_weight=0.5, distill_weight=0.5)
    config.train.adversarial = phase(
        pixel_weight=1e-2, distill_weight=1e-2, perceptual_weight=1.0, adversarial_weight=5e-3
    )

    config.log_every = 50  # steps between rows of metrics, which are means over these steps
    config.evaluate_every = 500  # steps between evaluations on the held-out photos
    config.checkpoint_every = 500  # steps between checkpoints; the newest two stay
    config.lock()
    return config


def edsr_baseline(config: Any) -> None:
    """Makes the teacher EDSR-baseline, trained as published (Lim et al. 2017), on given photos."""
    config.data.source = ""
    config.data.memory_mb = 16384
    config.teacher.name = "edsr"
    config.teacher.kwargs = {"features": 64, "blocks": 16}
    config.train.teacher = phase(
        steps=300_000,
        hr_patch=192,
        learning_rate=1e-4,
        betas=(0.9, 0.999),
        schedule="halving",
        milestones=(2 / 3,),
    )


def refuse_unknown(variant: str, known: tuple[str, ...]) -> None:
    """Raises a UserError unless `variant` (after the colon of --config) is "" or known."""
    if variant:
        pick(dict.fromkeys(known), variant, "the config's variant")


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
    for field in ("log_every", "evaluate_every", "checkpoint_every"):
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
    for field in ("steps", "batch", "hr_patch"):
        if settings[field] < 1:
            raise UserError(f"{where}.{field}={settings[field]} must be at least 1")
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


PARTS = "pixel", "distill", "blend", "perceptual", "adversarial"


def uses_teacher(settings: Any) -> bool:
    """Returns whether a phase compares with the teacher's output."""
    return bool(settings.distill_weight or settings.blend_weight)


def largest_patch(config: Any) -> int:
    """Returns the side of the largest HR patch of the phases that are to run."""
    return max(config.train[name].hr_patch for name in config.phases)


def to_json(config: Any) -> dict[str, Any]:
    """Returns the config as JSON values (tuples become lists)."""
    return json.loads(json.dumps(config.to_dict()))


# May differ between the starts of a run: they do not change what it computes. (Photos may move: a
# run records which they are.)
FREE = (
    "log_every",
    "evaluate_every",
    "checkpoint_every",
    "devices",
    "data.memory_mb",
    "data.source",
)


def check_workdir(config: Any, path: Path) -> None:
    """Checks `config` against the one saved at `path` by an earlier start, if there is one.

    Raises:
      UserError: they differ; names the fields and both values.
    """
    if not path.is_file():
        return
    saved, ours = (_flat(c) for c in (json.loads(path.read_text()), to_json(config)))
    for field in FREE:
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


def _flat(tree: dict[str, Any], prefix: str = "config") -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}.{key}"
        rows.update(_flat(value, name) if isinstance(value, dict) else {name: value})
    return rows
