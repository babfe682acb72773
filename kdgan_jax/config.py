"""What a run can be told: every field with its default and meaning.

Files in `configs/` start from `default()` and change fields; the command line changes more
(`--config.train.distill.steps=500`). The whole is locked: an unknown field is refused. Another
network with other arguments is chosen in a file, since its arguments are fields of their own.
"""

import json
from typing import Any

import ml_collections

from kdgan_jax.errors import pick

PHASES = "teacher", "distill", "adversarial"
SCHEDULES = "constant", "cosine", "halving"
BACKENDS = "auto", "device", "tfdata"
SAMPLING = "pixels", "images"
LR_SCALING = "none", "linear", "sqrt"


def phase(**changes: Any) -> ml_collections.ConfigDict:
    """Returns the settings of one phase of training; `changes` replace defaults.

    Its learning rates are taken to be written for its batch, as it is here.

    Raises:
      KeyError: a name in `changes` is no field.
    """
    config = ml_collections.ConfigDict(
        {
            "steps": 1000,  # updates
            "batch": 16,  # images over all devices
            "reference_batch": 16,  # those that learning rates are for: see optim.lr_scaling
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
    config.update({"reference_batch": changes.get("batch", config.batch), **changes})
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
    # A file of kdgan_jax.prepare, whose photos are taken in place of the source's.
    config.data.prepared = ""
    # Who cuts patches: "device": the train step, out of photos that lie on the accelerator, without
    # TensorFlow; "tfdata": tf.data on the host; "auto": the device, if the photos fit into half of
    # its memory. Patches are the same.
    config.data.backend = "auto"
    config.data.sampling = "pixels"  # patches are uniform over these, or over "images"
    # Megabytes that decoded photos may take with "tfdata"; else they are decoded on the fly.
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

    # Learning rates of a phase are multiplied by 1 ("none"), by its batch over its reference_batch
    # ("linear"), or by the root of that ("sqrt"); see train.optim.rate_factor.
    config.optim = ml_collections.ConfigDict()
    config.optim.lr_scaling = "none"  # one of LR_SCALING

    # Phases. The student of "adversarial" starts from the one of "distill" where there is one.
    config.train = ml_collections.ConfigDict()
    config.train.teacher = phase()
    config.train.distill = phase(pixel_weight=0.5, distill_weight=0.5)
    config.train.adversarial = phase(
        pixel_weight=1e-2, distill_weight=1e-2, perceptual_weight=1.0, adversarial_weight=5e-3
    )

    # Steps in one compiled call, with patches cut on the device; 0 chooses: up to 16, 1 on a CPU.
    config.steps_per_call = 0
    # Updates that are not finite are not made; if the last so many in a row were not when a row of
    # the log is due, the run stops.
    config.max_bad_steps = 10
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
