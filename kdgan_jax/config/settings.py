"""The parts of a checked config as types; each subpackage receives only the part that it needs.

`kdgan_jax.train.checks` checks a whole config once, when a command starts, and returns these.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np


class Spec(NamedTuple):
    """An entry of a table and its options, as in "compact:channels=32,depth=4"."""

    name: str
    options: dict[str, Any]


@dataclass(frozen=True)
class DataConfig:
    """Photos and patches."""

    # Entries separated by commas: "embedded" (photos inside installed packages),
    # "tfds:div2k/bicubic_x4", or folders that are searched at any depth: "hr:FOLDER", "lr:FOLDER"
    # (without HR), "pairs:FOLDER" (of HR/ and LRx4/), or FOLDER, told from what is in it.
    source: str = "embedded"
    # Photos that are held out for the run's own evaluation, at most a fifth; of fewer than five
    # photos, a fifth of each. "embedded" has a split of its own.
    holdout: int = 8
    # Share of the samples for each entry of the source, up to a common factor; (): all photos are
    # drawn alike.
    weights: tuple[float, ...] = ()
    # Largest number of photos to train on, those whose names have the highest hashes; 0: all.
    most: int = 0
    # What a folder holds that neither says so nor has HR/ or LRx4/ in it: "hr", or "lr" for
    # pictures that are to be enlarged.
    plain: str = "hr"
    # With fewer photos than this, a run of config.minutes also trains on the embedded photos, which
    # get half of the samples.
    complement: int = 0
    # Copies of each training photo, and of each held-out photo, and how their LR images are
    # degraded: levels of data.degradations.LEVELS, separated by commas, which the copies take in
    # turn. With 0 copies, every sample's LR patch is degraded on the fly, by tf.data; then the
    # samples take the levels in turn.
    copies: int = 1
    holdout_copies: int = 1
    degradation: str = "none"
    recolour: bool = False  # whether copies of training photos are in other colours, and some grey
    # Largest side of a copy in LR pixels, cut at a random place; 0: whole photos.
    crop: int = 0
    # Folder of outputs of teachers that are stored; "": `labels/` in the workdir. They may take
    # `labels_mb` megabytes, and are made at the start of a run or by kdgan_jax.label.
    labels: str = ""
    labels_mb: int = 8192
    prepared: str = ""  # a file of kdgan_jax.prepare, which replaces the source
    # Where patches are cut, with the same result. "device": in the train step, out of photos in the
    # accelerator's memory, without TensorFlow; "tfdata": by tf.data on the host; "auto": on the
    # device if the photos fit into half of its memory.
    backend: str = "auto"
    sampling: str = "pixels"  # patches are drawn uniformly over all "pixels", or over "images"
    # Megabytes that decoded photos may take with "tfdata"; beyond, they are decoded on the fly.
    memory_mb: int = 4096
    max_bad_fraction: float = 0.2  # of unusable files, beyond which the run stops

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels of degradation."""
        return tuple(level.strip() for level in self.degradation.split(","))

    @property
    def fresh(self) -> bool:
        """Whether the LR patch of every sample is degraded on the fly."""
        return self.copies == 0

    @property
    def copied(self) -> bool:
        """Whether LR images are degraded, or photos replaced by copies."""
        return self.copies > 1 or self.crop > 0 or self.recolour or set(self.levels) != {"none"}


@dataclass(frozen=True)
class BatchConfig:
    """The batches of a phase.

    Attributes:
      steps: number of batches.
      batch: images over all devices.
      hr_patch: side of an HR patch in pixels, a multiple of the scale.
      margin: LR pixels cut around every patch; beyond a photo's border, its edge is repeated.
    """

    steps: int
    batch: int
    hr_patch: int
    margin: int = 0


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam with a learning-rate schedule; see `kdgan_jax.config.phase` for the other fields.

    Attributes:
      learning_rate: at its peak, for the batch size that it is written for.
      factor: multiplies the learning rate, for the batch size that is used.
      scaling: how the factor was derived, for the log.
    """

    learning_rate: float
    factor: float = 1.0
    scaling: str = ""
    betas: tuple[float, float] = (0.9, 0.99)
    schedule: str = "cosine"
    final_fraction: float = 0.0
    milestones: tuple[float, ...] = ()
    warmup_steps: int = 0
    clip_norm: float = 0.0
    weight_decay: float = 0.0


@dataclass(frozen=True)
class LossConfig:
    """A loss of a phase, or a regulariser of its discriminator.

    Attributes:
      kind: the entry of the table and its options.
      weight: multiplies the loss.
      schedule: of the weight over steps; see `kdgan_jax.losses.schedules`.
      target: the image that the output is compared with: "hr", the name of a teacher, or "ema".
    """

    kind: Spec
    weight: float
    schedule: Spec
    target: str = ""


@dataclass(frozen=True)
class TeacherConfig:
    """A teacher of a phase.

    Attributes:
      model: an earlier phase, or a path that `load` takes.
      reads: its input image, "lr" or "hr".
      stored: "" if it runs in every step; else its outputs are computed once, before training, and
        stored as "uint8" or "float16".
      ensemble: whether a stored output is the mean over the eight flips and rotations.
    """

    model: str
    reads: str = "lr"
    stored: str = ""
    ensemble: bool = False


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The discriminator of a phase.

    Attributes:
      network: its architecture and arguments.
      adversarial_loss: label of the adversarial loss; that loss's target gives the real images.
      optimizer: its own.
      warmup_steps: first steps, in which it trains alone.
      regularizers: by label.
    """

    network: Spec
    adversarial_loss: str
    optimizer: OptimizerConfig
    warmup_steps: int
    regularizers: Mapping[str, LossConfig]


@dataclass(frozen=True)
class PhaseConfig:
    """A phase of a run.

    Attributes:
      name: chosen by the user.
      network: the role of the network that it trains, such as "student"; a field of the config.
      spec: architecture and arguments of that network.
      checkpoint: a model that is used instead of training the network; "" trains it.
      start: where the weights come from: "" (fresh), an earlier phase, or a path.
      start_if_fits: whether weights are fresh if that model has another scale or architecture.
      teachers: by name.
      losses: by label.
      discriminator: None unless a loss needs one.
      batches: the training data.
      optimizer: of the generator and of parameters that its losses own.
      ema_decay: of the moving average of the weights.
      dtype: in which convolutions are computed.
      number: its place in the run, from 0.
      needs_hr: whether a loss or a teacher reads HR images.
      level: weight of the mesh when it is taken out at the end; 0 leaves it.
      mixup: alpha of the mixtures of patches; 0 does not mix.
      dropout: a feature of the network and the rate at which its channels are dropped in training.
    """

    name: str
    network: str
    spec: Spec
    checkpoint: str
    start: str
    teachers: Mapping[str, TeacherConfig]
    losses: Mapping[str, LossConfig]
    discriminator: DiscriminatorConfig | None
    batches: BatchConfig
    optimizer: OptimizerConfig
    ema_decay: float = 0.999
    dtype: str = "float32"
    number: int = 0
    needs_hr: bool = True
    start_if_fits: bool = False
    level: float = 0.0
    mixup: float = 0.0
    dropout: tuple[str, float] | None = None

    @property
    def steps(self) -> int:
        """Number of updates."""
        return self.batches.steps

    @property
    def stored(self) -> list[str]:
        """Names of the teachers whose outputs are stored."""
        return [name for name, teacher in self.teachers.items() if teacher.stored]

    @property
    def stored_bytes(self) -> int:
        """Bytes that all stored outputs take for each number of an HR image."""
        return sum(np.dtype(self.teachers[name].stored).itemsize for name in self.stored)


@dataclass(frozen=True)
class LoopConfig:
    """How often the training loop does what."""

    # Steps per compiled call if patches are cut on the device; 0 chooses: up to 16, 1 on a CPU.
    steps_per_call: int = 0
    # Non-finite updates are skipped. The run stops if, at a log row, the latest `max_bad_steps`
    # updates in a row were skipped.
    max_bad_steps: int = 10
    log_every: int = 50  # steps per row of metrics, which are means over these steps
    evaluate_every: int = 500  # steps between evaluations on the held-out photos
    # Steps between checkpoints. The newest two are kept, and the best of those that were evaluated.
    checkpoint_every: int = 500
    # Measured on the held-out photos: entries of evaluation.metrics.METRICS, with "psnr_y", which
    # tells the best checkpoint.
    holdout_metrics: tuple[str, ...] = ("psnr_y", "ssim_y")


@dataclass(frozen=True)
class RunConfig:
    """A whole run.

    Attributes:
      seed: of weights and batches.
      scale: enlargement.
      devices: number to train on; 0 for all.
      minutes: that the whole run should take; 0 if it takes as long as it takes.
      phases: in the order in which they run.
      data: photos and patches.
      loop: intervals of the training loop.
      saved: the whole config as JSON values, as it is stored with a run.
    """

    seed: int
    scale: int
    devices: int
    phases: tuple[PhaseConfig, ...]
    data: DataConfig
    loop: LoopConfig
    saved: Mapping[str, Any] = field(default_factory=dict)
    minutes: float = 0.0

    @property
    def largest_patch(self) -> int:
        """Side of the largest HR patch in pixels."""
        return max(phase.batches.hr_patch for phase in self.phases)

    @property
    def needs_hr(self) -> bool:
        """Whether a phase that is trained reads HR images, or is levelled towards them."""
        trained = (phase for phase in self.phases if not phase.checkpoint)
        return any(phase.needs_hr or phase.level > 0 for phase in trained)

    @property
    def batches(self) -> tuple[int, ...]:
        """Batch size of every phase."""
        return tuple(phase.batches.batch for phase in self.phases)
