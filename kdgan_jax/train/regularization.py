"""What a step does to its patches and its generator against overfitting: mixup and dropout."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import Array

from kdgan_jax.data.batches import Batch
from kdgan_jax.losses.term import Generator
from kdgan_jax.models import feature
from kdgan_jax.runtime.errors import UserError


def to_float(image: Array) -> Array:
    """Returns an image as float32: uint8 is scaled to [0, 1], floats are left as they are."""
    scale = 255 if image.dtype == jnp.uint8 else 1
    return image.astype(jnp.float32) / scale


def mixed(batch: Batch, keys: Array, alpha: float) -> Batch:
    """Returns a batch of mixtures.

    From Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018. Each sample x becomes
    λ x + (1 - λ) x', with one λ for LR and all targets, drawn from Beta(alpha, alpha). x' is the
    neighbour of x, so that a mixture is the same on any number of devices. A target exists if both
    have it.

    Args:
      batch: one device's share, of an even number of samples.
      keys: for each sample, (B,).
      alpha: above 0.

    Raises:
      UserError: the number of samples is odd.
    """
    number = len(batch.index)
    if number % 2:
        raise UserError(
            f"mixup mixes pairs of patches, but a device has {number}; choose a batch that is an"
            " even number per device"
        )
    share = jax.vmap(lambda key: jax.random.beta(key, alpha, alpha))(keys).reshape(-1, 1, 1, 1)

    def other(values: Array) -> Array:
        return values.reshape(number // 2, 2, *values.shape[1:])[:, ::-1].reshape(values.shape)

    def mix(image: Array) -> Array:
        image = to_float(image)
        return share * image + (1 - share) * other(image)

    targets = {name: mix(image) for name, image in batch.targets.items()}
    valid = {name: there & other(there) for name, there in batch.valid.items()}
    return Batch(mix(batch.lr), targets, valid, batch.index)


def drop_channels(
    generator: Generator,
    lr: Array,
    features: Mapping[str, Array],
    keys: Array,
    name: str,
    rate: float,
) -> Array:
    """Returns the generator's image of LR with some channels of one of its features set to 0.

    Before the last convolution, this is the dropout of Kong et al. ("Reflash Dropout in Image
    Super-Resolution", CVPR 2022). The other channels are divided by 1 - rate.

    Args:
      generator: as a function.
      lr: its input, (B, h, w, 3).
      features: those of the same input.
      keys: for each sample, (B,).
      name: of the feature.
      rate: probability of each channel of each sample to be dropped, from 0 and below 1.

    Raises:
      UserError: there is no such feature.
    """
    whole = feature(features, name, "dropout: the network that is trained")
    channels = whole.shape[-1:]
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, channels))(keys)
    kept = kept.reshape(-1, 1, 1, *channels).astype(whole.dtype) / (1 - rate)
    return generator(lr, {name: whole * kept})[0]
