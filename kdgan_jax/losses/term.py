"""What a loss is: a pure function of what one training step has at hand, to one value per image.

`TERMS` in this package is the one table of them. A term's options are the fields of its dataclass;
what it needs beside images it says in `needs`; parameters that train with the generator it makes
in `init`. Nothing outside the table knows a term by its name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

from jax import Array

Mean = Callable[[Any], Any]  # of a tree over devices
Features = Mapping[str, Array]


class Run(Protocol):
    """A network as a function of images."""

    def __call__(
        self, images: Array, features: Features | None = None
    ) -> tuple[Array, dict[str, Array]]:
        """Returns (SR, features by name) of `images`; given features replace its own."""


class Output(NamedTuple):
    """A network and what it makes of a batch.

    Attributes:
      image: what it reads, (B, h, w, 3).
      sr: its image, (B, H, W, 3).
      features: its named features.
      run: the network itself, for other images, or from one of its features on.
    """

    image: Array
    sr: Array
    features: dict[str, Array]
    run: Run


class Context(NamedTuple):
    """What a term may see of a step; images are float32 in [0, 1].

    Attributes:
      step: number of the update, int32.
      keys: a PRNG key for each sample, (B,): the same on any number of devices, and after a resume.
      lr: (B, h, w, 3).
      images: what the generator's image may be compared with, by name, (B, H, W, 3): "hr" where
        the photos have it, and the image of every teacher. No gradient flows into them.
      generator: the network that is trained. Gradients flow through all of it.
      teachers: by name. Gradients flow through `run` into what it is given, not into weights.
      ema: the generator with its averaged weights.
      judge: the discriminator, images to logits (B,) or (B, h, w); None where there is none.
      extract: fixed extractors by name: (images, layers) to a list of features.
      mean: mean over devices.
    """

    step: Array
    keys: Array
    lr: Array
    images: Mapping[str, Array]
    generator: Output
    teachers: Mapping[str, Output]
    ema: Run
    judge: Callable[[Array], Array] | None
    extract: Mapping[str, Callable[..., list[Array]]]
    mean: Mean

    @property
    def sr(self) -> Array:
        """The generator's image."""
        return self.generator.sr


@dataclass(frozen=True)
class Term:
    """A loss, with nothing but a target; its fields are its options.

    Attributes:
      target: name of the image that it compares with: "hr", or a teacher's.
    """

    needs: ClassVar[tuple[str, ...]] = ()  # "discriminator", or names of extractors
    of_image: ClassVar[bool] = True  # it compares with the target's image
    of_teacher: ClassVar[bool] = False  # the target must be a teacher

    target: str = "hr"

    def check(self, hr_patch: int, field: str) -> None:
        """Raises a UserError if the options cannot be; `field` says where they stand."""

    def init(self, key: Array, context: Context) -> dict[str, Any]:
        """Returns parameters that train with the generator; of `context` shapes alone count."""
        return {}

    def __call__(self, params: Mapping[str, Any], context: Context) -> Array:
        """Returns the loss per image, (B,), unweighted."""
        raise TypeError(f"{type(self).__name__} does not say what it computes")


@dataclass(frozen=True)
class Game(Term):
    """An adversarial loss: the generator's side is a term, the discriminator's its `opponent`."""

    needs: ClassVar[tuple[str, ...]] = ("discriminator",)

    def generator(self, real: Array, fake: Array, mean: Mean) -> Array:
        """Returns the generator's loss on logits, elementwise."""
        raise TypeError(f"{type(self).__name__} has no generator's side")

    def opponent(self, real: Array, fake: Array, mean: Mean) -> Array:
        """Returns the discriminator's loss on logits, elementwise."""
        raise TypeError(f"{type(self).__name__} has no discriminator's side")

    def __call__(self, params: Mapping[str, Any], context: Context) -> Array:
        """Returns the generator's loss per image, (B,); `target` are the real images."""
        assert context.judge is not None
        real, fake = context.judge(context.images[self.target]), context.judge(context.sr)
        return per_image(self.generator(real, fake, context.mean))


class Regularizer(Protocol):
    """What is added to the discriminator's loss."""

    def __call__(
        self, judge: Callable[[Array], Array], real: Array, fake: Array, keys: Array
    ) -> Array:
        """Returns one value per image, (B,), unweighted.

        Args:
          judge: the discriminator that is trained, images to logits.
          real: real images, (B, H, W, 3).
          fake: the generator's images, (B, H, W, 3).
          keys: a PRNG key for each sample, (B,).
        """


def per_image(values: Array) -> Array:
    """Returns the mean over all axes but the first, (B,)."""
    return values.mean(axis=tuple(range(1, values.ndim))) if values.ndim > 1 else values
