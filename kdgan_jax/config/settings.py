"""The parts of a config as types: each room gets the part that it needs, and no more.

`kdgan_jax.checks` checks a config once, at the entrance, and makes these of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Spec(NamedTuple):
    """What a text like "compact:channels=32,depth=4" says: an entry of a table and its options."""

    name: str
    options: dict[str, Any]


@dataclass(frozen=True)
class DataConfig:
    """Photos and patches."""

    # "embedded": photos inside installed packages; "tfds:div2k/bicubic_x4"; or folders, separated
    # by commas, of HR images at any depth (or of HR/ and LRx4/).
    source: str = "embedded"
    holdout: int = 8  # photos of the folders held out for the run's own evaluation
    prepared: str = ""  # a file of kdgan_jax.prepare, whose photos are taken in the source's place
    # Who cuts patches: "device": the train step, out of photos that lie on the accelerator, without
    # TensorFlow; "tfdata": tf.data on the host; "auto": the device, if the photos fit into half of
    # its memory. Patches are the same.
    backend: str = "auto"
    sampling: str = "pixels"  # patches are uniform over these, or over "images"
    # Megabytes that decoded photos may take with "tfdata"; else they are decoded on the fly.
    memory_mb: int = 4096
    max_bad_fraction: float = 0.2  # of unusable files, beyond which the run stops


@dataclass(frozen=True)
class BatchConfig:
    """The batches of a phase.

    Attributes:
      steps: number of batches.
      batch: images over all devices.
      hr_patch: side of an HR patch in pixels, a multiple of the scale.
      margin: LR pixels cut around every patch, repeated from the edge beyond a photo's border.
    """

    steps: int
    batch: int
    hr_patch: int
    margin: int = 0


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam with a schedule; fractions and steps as in `kdgan_jax.config.phase`.

    Attributes:
      learning_rate: at its peak, for the batch that it is written for.
      factor: what it is multiplied by for the batch as it is.
      scaling: where the factor comes from, for the log.
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


@dataclass(frozen=True)
class LossConfig:
    """One loss of a phase, or one regulariser of its discriminator.

    Attributes:
      kind: the entry of the table and its options.
      weight: what its values are multiplied by.
      schedule: of the weight, over steps; see `kdgan_jax.losses.schedules`.
      target: the image that it compares with: "hr", or the name of a teacher.
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
      reads: the image that it is shown: "lr" or "hr".
    """

    model: str
    reads: str = "lr"


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The discriminator of a phase.

    Attributes:
      network: its architecture and arguments.
      game: label of the loss that is the generator's side; its target are the real images.
      optimizer: its own.
      warmup_steps: steps in which it trains alone.
      regularizers: by label.
    """

    network: Spec
    game: str
    optimizer: OptimizerConfig
    warmup_steps: int
    regularizers: Mapping[str, LossConfig]


@dataclass(frozen=True)
class PhaseConfig:
    """One phase of a run.

    Attributes:
      name: the user's name for it.
      network: the role of what it trains, such as "student": a network of the config.
      spec: architecture and arguments of that network.
      checkpoint: a model to take in place of training the network; "" trains it.
      start: what its weights start from: "" (fresh), an earlier phase, or a path.
      teachers: by name.
      losses: by label.
      discriminator: None where no loss needs one.
      batches: what it trains on.
      optimizer: of the generator and of what its losses train with it.
      ema_decay: of the averaged weights.
      dtype: that convolutions compute in.
      number: its place in the run, from 0.
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

    @property
    def steps(self) -> int:
        """Updates in all."""
        return self.batches.steps


@dataclass(frozen=True)
class LoopConfig:
    """What is due when while a phase trains."""

    # Steps in one compiled call, with patches cut on the device; 0 chooses: up to 16, 1 on a CPU.
    steps_per_call: int = 0
    # Updates that are not finite are not made; if the last so many in a row were not when a row of
    # the log is due, the run stops.
    max_bad_steps: int = 10
    log_every: int = 50  # steps between rows of metrics, which are means over these steps
    evaluate_every: int = 500  # steps between evaluations on the held-out photos
    checkpoint_every: int = 500  # steps between checkpoints; the newest two stay


@dataclass(frozen=True)
class RunConfig:
    """A whole run.

    Attributes:
      seed: of weights and batches.
      scale: enlargement.
      devices: number to train on; 0 for all.
      phases: in the order in which they run.
      data: where photos come from.
      loop: what is due when.
      saved: the config as JSON values, as it is kept with a run.
    """

    seed: int
    scale: int
    devices: int
    phases: tuple[PhaseConfig, ...]
    data: DataConfig
    loop: LoopConfig
    saved: Mapping[str, Any] = field(default_factory=dict)

    @property
    def largest_patch(self) -> int:
        """Side of the largest HR patch."""
        return max(phase.batches.hr_patch for phase in self.phases)

    @property
    def batches(self) -> tuple[int, ...]:
        """The phases' batch sizes."""
        return tuple(phase.batches.batch for phase in self.phases)
