"""Networks: pure functions of (parameters, image), described by name and keyword arguments.

A generator maps LR (B, h, w, 3) in [0, 1] to (SR (B, h * scale, w * scale, 3), features), where
features is a dict of named intermediate arrays for distillation. It has `scale` and
`receptive_radius`. Its variables are parameters alone; `fold`, where it has one, makes the network
for deployment of the one that was trained.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from kdgan_jax.config import spec
from kdgan_jax.models.blocks.layers import FEATURES
from kdgan_jax.models.blocks.normalization import identity
from kdgan_jax.models.discriminators.origin import OriginDiscriminator
from kdgan_jax.models.discriminators.vgg import VGGDiscriminator
from kdgan_jax.models.generators.bsrn import BSRN
from kdgan_jax.models.generators.carn import CARNM
from kdgan_jax.models.generators.compact import Compact
from kdgan_jax.models.generators.edsr import EDSR
from kdgan_jax.models.generators.espcn import ESPCN
from kdgan_jax.models.generators.fast_srgan import FastSRGAN
from kdgan_jax.models.generators.fsrcnn import FSRCNN
from kdgan_jax.models.generators.hit_srf import HiTSRF
from kdgan_jax.models.generators.imdn import IMDN
from kdgan_jax.models.generators.kdgan_student import KDGANStudent
from kdgan_jax.models.generators.pan import PAN
from kdgan_jax.models.generators.plainusr import PlainUSR
from kdgan_jax.models.generators.rcan import RCAN
from kdgan_jax.models.generators.rlfn import RLFN
from kdgan_jax.models.generators.rrdb import RRDBNet
from kdgan_jax.models.generators.smfanet import SMFANet
from kdgan_jax.models.generators.srcnn import SRCNN
from kdgan_jax.models.generators.srresnet import SRResNet
from kdgan_jax.models.generators.vapsr import VapSR
from kdgan_jax.models.generators.vdsr import VDSR
from kdgan_jax.runtime.errors import UserError, pick, suggest

GENERATORS: dict[str, Any] = {
    "srcnn": SRCNN,
    "kdgan_student": KDGANStudent,
    "srresnet": SRResNet,
    "edsr": EDSR,
    "compact": Compact,
    "fsrcnn": FSRCNN,
    "espcn": ESPCN,
    "vdsr": VDSR,
    "rrdb": RRDBNet,
    "rcan": RCAN,
    "imdn": IMDN,
    "pan": PAN,
    "carn_m": CARNM,
    "rlfn": RLFN,
    "bsrn": BSRN,
    "vapsr": VapSR,
    "smfanet": SMFANet,
    "plainusr": PlainUSR,
    "fast_srgan": FastSRGAN,
    "hit_srf": HiTSRF,
}
DISCRIMINATORS: dict[str, Any] = {"origin": OriginDiscriminator, "vgg": VGGDiscriminator}
SCALES = 2, 3, 4
DTYPES: dict[str, Any] = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def as_named_now(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a network's options, with the name that its width had before 0.3 replaced."""
    return {"channels" if name == "features" else name: v for name, v in options.items()}


def generator(
    name: str,
    kwargs: Mapping[str, Any],
    scale: int,
    field: str = "generator",
    dtype: str = "float32",
) -> Any:
    """Returns the generator module `name` of `GENERATORS` at `scale`.

    Args:
      name: of the architecture.
      kwargs: its arguments.
      scale: its enlargement.
      field: where the user wrote name and arguments, for messages.
      dtype: out of `DTYPES`, that its convolutions compute in; parameters, images and results are
        float32 always.

    Raises:
      UserError: there is no such name, argument, scale or dtype, or not for this architecture.
    """
    if scale not in SCALES:
        raise UserError(f"scale={scale} is not supported; choose one of {SCALES}")
    computed = pick(DTYPES, dtype, "dtype")
    more = {"dtype": computed} if hasattr(pick(GENERATORS, name, field), "dtype") else {}
    if not more and dtype != "float32":
        able = [other for other, module in GENERATORS.items() if hasattr(module, "dtype")]
        raise UserError(
            f"{field}: {name!r} computes in float32 only; for {dtype} choose one of"
            f" {', '.join(able)}"
        )
    return spec.build(GENERATORS, name, as_named_now(kwargs), field, scale=scale, **more)


def discriminator(
    name: str,
    options: Mapping[str, Any],
    *,
    mean: Callable[[Any], Any] = identity,
    dtype: str = "float32",
    field: str = "config.discriminator",
) -> Any:
    """Returns the discriminator module `name` of `DISCRIMINATORS`.

    Args:
      name: of the architecture.
      options: its arguments.
      mean: mean over the devices that a batch lies on.
      dtype: out of `DTYPES`, that its convolutions compute in; parameters, images and logits are
        float32 always.
      field: where the user wrote name and options, for messages.

    Raises:
      UserError: there is no such name, option or dtype.
    """
    computed = pick(DTYPES, dtype, "dtype")
    options = as_named_now(options)
    return spec.build(DISCRIMINATORS, name, options, field, mean=mean, dtype=computed)


def init(module: nn.Module, key: Array, size: int) -> dict[str, Any]:
    """Returns fresh variables, {"params": ...} and other collections that the module has.

    Images have `size` x `size` pixels, or as many as it needs.
    """
    size = max(size, getattr(module, "smallest", 1))
    return dict(jax.jit(module.init)(key, jnp.zeros((1, size, size, 3))))


def apply(
    module: Any,
    variables: Mapping[str, Any],
    images: Array,
    features: Mapping[str, Array] | None = None,
) -> tuple[Array, dict[str, Array]]:
    """Returns (SR, features) of a generator, all of them or from some of its features on.

    Args:
      module: the generator.
      variables: {"params": ...}.
      images: LR (B, h, w, 3) float32 in [0, 1].
      features: arrays to go on with in place of the features of these names. They are what is
        returned for them, and jit leaves out what only the replaced ones needed.

    Raises:
      UserError: it has no feature of such a name.
      ValueError: an array is of another shape than the feature.
    """
    given = dict(features or {})
    sr, found = module.apply({**variables, FEATURES: given} if given else variables, images)
    for name in given:
        feature(found, name, "the network")
    return sr, found


def feature(features: Mapping[str, Array], name: str, network: str) -> Array:
    """Returns `features[name]`.

    Raises:
      UserError: there is no such feature; `network` says of what.
    """
    if name not in features:
        raise UserError(
            f"{network} has no feature {name!r}{suggest(name, features)}"
            f" (known: {', '.join(features)})"
        )
    return features[name]


def parameters(params: Any) -> int:
    """Returns the number of trainable numbers in `params`."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
