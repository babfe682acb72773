"""The interface of losses: pure functions of one training step, with one value per image.

`TERMS` in this package lists all losses; no other code knows one by its name. The fields of a
loss's dataclass are its options in a config. `needs` says what it uses besides images, and `init`
makes the parameters that it trains together with the generator.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

from jax import Array

from kdgan_jax.models.types import Features, Mean, Params

EMA = "ema"  # the target that is the image of the generator with its averaged weights
Discriminator = Callable[[Array], Array]  # images (B, H, W, 3) to logits, (B,) or (B, h, w)
FeatureExtractor = Callable[[Array, Sequence[str]], list[Array]]  # (images, layers) to features


class Generator(Protocol):
    """A generator as a function of images."""

    def __call__(
        self, images: Array, features: Features | None = None
    ) -> tuple[Array, dict[str, Array]]:
        """Returns (SR, features by name); `features` replace those of the same names."""


class Output(NamedTuple):
    """A generator and its output for a batch.

    Attributes:
      image: its input, (B, h, w, 3).
      sr: its image, (B, H, W, 3).
      features: by name.
      apply: the generator as a function, for other images or for replaced features.
    """

    image: Array
    sr: Array
    features: dict[str, Array]
    apply: Generator


class Context(NamedTuple):
    """What a term can use in a step; images are float32 in [0, 1].

    Attributes:
      step: number of the update, int32.
      keys: a PRNG key for each sample, (B,). They do not depend on the number of devices, and a
        resumed run has the same ones.
      lr: (B, h, w, 3).
      images: targets for the generator's image by name, (B, H, W, 3): "hr" if the photos have it,
        the image of every teacher, and `EMA` if a loss compares with it. No gradient flows into
        them.
      generator: the network being trained. Gradients flow through all of it.
      teachers: by name. Gradients flow through `apply` into its input but not into the weights.
      ema: the generator with its averaged weights.
      discriminator: None in a phase without one.
      extractors: fixed feature extractors by name.
      mean: mean over devices.
    """

    step: Array
    keys: Array
    lr: Array
    images: Mapping[str, Array]
    generator: Output
    teachers: Mapping[str, Output]
    ema: Generator
    discriminator: Discriminator | None
    extractors: Mapping[str, FeatureExtractor]
    mean: Mean

    @property
    def sr(self) -> Array:
        """The generator's image."""
        return self.generator.sr


@dataclass(frozen=True)
class Term:
    """The base class of losses; the fields of a loss are its options.

    Attributes:
      target: name of the image to compare with: "hr", a teacher or `EMA`.
    """

    needs: ClassVar[tuple[str, ...]] = ()  # "discriminator", or names of extractors
    of_image: ClassVar[bool] = True  # whether it compares with the target's image
    of_teacher: ClassVar[bool] = False  # whether the target must be a teacher
    of_hr: ClassVar[bool] = False  # whether it compares with HR beside the target

    target: str = "hr"

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of all that it compares with; samples that lack one do not count."""
        return (self.target, "hr") if self.of_hr else (self.target,)

    def check(self, hr_patch: int, field: str) -> None:
        """Raises a UserError if an option is invalid; `field` is the config field with them."""

    def check_batch(self, images: int, field: str) -> None:
        """Raises a UserError if a device has too few `images`; `field` is as for `check`."""

    def init(self, key: Array, context: Context) -> dict[str, Any]:
        """Returns parameters to train with the generator; only `context`'s shapes matter."""
        return {}

    def __call__(self, params: Params, context: Context) -> Array:
        """Returns the unweighted loss per image, (B,)."""
        raise TypeError(f"{type(self).__name__} does not define __call__")


@dataclass(frozen=True)
class Adversarial(Term):
    """An adversarial loss, with a side for the generator and one for the discriminator."""

    needs: ClassVar[tuple[str, ...]] = ("discriminator",)

    def generator_loss(self, real: Array, fake: Array, mean: Mean) -> Array:
        """Returns the generator's loss of logits, elementwise."""
        raise TypeError(f"{type(self).__name__} does not define generator_loss")

    def discriminator_loss(self, real: Array, fake: Array, mean: Mean) -> Array:
        """Returns the discriminator's loss of logits, elementwise."""
        raise TypeError(f"{type(self).__name__} does not define discriminator_loss")

    def __call__(self, params: Params, context: Context) -> Array:
        """Returns the generator's loss per image, (B,); the target gives the real images."""
        discriminator = context.discriminator
        assert discriminator is not None
        real, fake = discriminator(context.images[self.target]), discriminator(context.sr)
        return per_image(self.generator_loss(real, fake, context.mean))


class Regularizer(Protocol):
    """A regulariser, which is added to the discriminator's loss."""

    def __call__(
        self, discriminator: Discriminator, real: Array, fake: Array, keys: Array
    ) -> Array:
        """Returns one unweighted value per image, (B,).

        Args:
          discriminator: the one being trained.
          real: real images, (B, H, W, 3).
          fake: the generator's images, (B, H, W, 3).
          keys: a PRNG key for each sample, (B,).
        """


def per_image(values: Array) -> Array:
    """Returns the mean over all axes but the first, (B,)."""
    return values.mean(axis=tuple(range(1, values.ndim))) if values.ndim > 1 else values
