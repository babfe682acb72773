"""Networks: pure functions of parameters and images, described by a name and arguments.

A generator maps LR (B, h, w, 3) in [0, 1] to (SR (B, h * scale, w * scale, 3), features), where
features is a dict of intermediate arrays for distillation. Its only variables are parameters. It
has `scale` and `receptive_radius`: the LR pixels on each side that one output pixel depends on.

A generator may also have:

- `whole_image`: whether every output pixel may depend on the whole image; it cannot be tiled then;
- `smallest`: the smallest side of an LR image in pixels;
- `grid`: tiles must start at multiples of this number of LR pixels;
- `dtype`: the dtype in which its convolutions compute;
- `fold`: returns the smaller network for deployment that computes the same;
- `before_shuffle`: the name of the feature that the convolution before its last pixel shuffle
  sees, and the path of that convolution's parameters;
- `detect`, `readings`, `torch_key`, `as_published`, `serves_scales`: how its published files are
  recognised, read and written.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from kdgan_jax.config import spec
from kdgan_jax.models.blocks.layers import FEATURES
from kdgan_jax.models.blocks.normalization import identity
from kdgan_jax.models.discriminators.origin import OriginDiscriminator
from kdgan_jax.models.discriminators.patch import PatchDiscriminator
from kdgan_jax.models.discriminators.vgg import VGGDiscriminator
from kdgan_jax.models.generators.abpn import ABPN
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
from kdgan_jax.models.types import Features, Mean, Params
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
    "abpn": ABPN,
    "fast_srgan": FastSRGAN,
    "hit_srf": HiTSRF,
}
DISCRIMINATORS: dict[str, Any] = {
    "origin": OriginDiscriminator,
    "patch": PatchDiscriminator,
    "vgg": VGGDiscriminator,
}
SCALES = 2, 3, 4
DTYPES: dict[str, DTypeLike] = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def as_named_now(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a network's options with the name of before 0.3, `features`, as `channels`."""
    return {"channels" if name == "features" else name: value for name, value in options.items()}


def generator(
    name: str,
    kwargs: Mapping[str, Any],
    scale: int,
    field: str = "generator",
    dtype: str = "float32",
) -> Any:
    """Returns the generator `name`, a Linen module.

    Args:
      name: key of `GENERATORS`.
      kwargs: the module's arguments, except `scale` and `dtype`.
      scale: upscaling factor, one of `SCALES`, or 1 for networks that restore.
      field: where the user wrote name and arguments, for messages.
      dtype: key of `DTYPES`: the dtype in which convolutions compute. Parameters, images and
        results are always float32.

    Raises:
      UserError: the name, an argument, the scale or the dtype is unknown, or the architecture does
        not support it.
    """
    if scale not in (1, *SCALES):
        raise UserError(f"scale={scale} is not supported; choose one of {SCALES}")
    fixed: dict[str, Any] = {"scale": scale}
    compute_dtype = pick(DTYPES, dtype, "dtype")
    if hasattr(pick(GENERATORS, name, field), "dtype"):
        fixed["dtype"] = compute_dtype
    elif dtype != "float32":
        choices = [other for other, module in GENERATORS.items() if hasattr(module, "dtype")]
        raise UserError(
            f"{field}: {name!r} computes in float32 only; for {dtype} choose one of"
            f" {', '.join(choices)}"
        )
    return spec.build(GENERATORS, name, as_named_now(kwargs), field, **fixed)


def discriminator(
    name: str,
    options: Mapping[str, Any],
    *,
    mean: Mean = identity,
    dtype: str = "float32",
    field: str = "config.discriminator",
) -> Any:
    """Returns the discriminator `name`, a Linen module.

    Args:
      name: key of `DISCRIMINATORS`.
      options: the module's arguments, except `mean` and `dtype`.
      mean: averages a tree of arrays over the devices that share a batch.
      dtype: key of `DTYPES`: the dtype in which convolutions compute. Parameters, images and
        logits are always float32.
      field: where the user wrote name and options, for messages.

    Raises:
      UserError: the name, an option or the dtype is unknown.
    """
    compute_dtype = pick(DTYPES, dtype, "dtype")
    options = as_named_now(options)
    return spec.build(DISCRIMINATORS, name, options, field, mean=mean, dtype=compute_dtype)


def init(module: nn.Module, key: Array, size: int) -> dict[str, Any]:
    """Returns fresh variables for RGB images: {"params": ...} and the module's other collections.

    Args:
      module: a generator or a discriminator.
      key: a JAX key.
      size: side of the images in pixels; raised to the module's smallest side if necessary.
    """
    size = max(size, getattr(module, "smallest", 1))
    return dict(jax.jit(module.init)(key, jnp.zeros((1, size, size, 3))))


def apply(
    module: Any,
    variables: Mapping[str, Any],
    images: Array,
    features: Mapping[str, Array] | None = None,
) -> tuple[Array, Features]:
    """Returns (SR, features) of a generator.

    Args:
      module: the generator.
      variables: {"params": ...}.
      images: LR (B, h, w, 3) float32 in [0, 1].
      features: arrays that replace the generator's features of these names, in the computation and
        in the result. Under jit, what only the replaced features need is not computed.

    Raises:
      UserError: the generator has no feature of a given name.
      ValueError: a replacement has another shape than its feature.
    """
    if features:
        variables = {**variables, FEATURES: dict(features)}
    sr, outputs = module.apply(variables, images)
    for name in features or {}:
        feature(outputs, name, "the network")
    return sr, outputs


def feature(features: Mapping[str, Array], name: str, network: str) -> Array:
    """Returns `features[name]`.

    Args:
      features: features of one network.
      name: name of the feature.
      network: what to call the network in messages.

    Raises:
      UserError: there is no such feature.
    """
    if name not in features:
        raise UserError(
            f"{network} has no feature {name!r}{suggest(name, features)}"
            f" (known: {', '.join(features)})"
        )
    return features[name]


def parameters(params: Params) -> int:
    """Returns the number of elements of all arrays in `params`."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
