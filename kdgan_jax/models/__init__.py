"""Networks: pure functions of (parameters, image), described by name and keyword arguments.

A generator maps LR (B, h, w, 3) in [0, 1] to (SR (B, h * scale, w * scale, 3), features), where
features is a dict of named intermediate arrays for distillation. It has `scale` and
`receptive_radius`.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
from jax import Array

from kdgan_jax.errors import UserError, pick, suggest
from kdgan_jax.models.bsrn import BSRN
from kdgan_jax.models.carn import CARNM
from kdgan_jax.models.compact import Compact
from kdgan_jax.models.discriminator import OriginDiscriminator, VGGDiscriminator
from kdgan_jax.models.edsr import EDSR
from kdgan_jax.models.espcn import ESPCN
from kdgan_jax.models.fast_srgan import FastSRGAN
from kdgan_jax.models.fsrcnn import FSRCNN
from kdgan_jax.models.hit_srf import HiTSRF
from kdgan_jax.models.imdn import IMDN
from kdgan_jax.models.kdgan_student import KDGANStudent
from kdgan_jax.models.pan import PAN
from kdgan_jax.models.plainusr import PlainUSR
from kdgan_jax.models.rcan import RCAN
from kdgan_jax.models.rlfn import RLFN
from kdgan_jax.models.rrdb import RRDBNet
from kdgan_jax.models.smfanet import SMFANet
from kdgan_jax.models.srcnn import SRCNN
from kdgan_jax.models.srresnet import SRResNet
from kdgan_jax.models.vapsr import VapSR
from kdgan_jax.models.vdsr import VDSR

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


def _build(table: dict[str, Any], name: str, kwargs: dict[str, Any], field: str) -> Any:
    """Returns `table[name](**kwargs)`, refusing arguments that it does not have."""
    module = pick(table, name, f"{field}.name")
    known = [f.name for f in dataclasses.fields(module) if f.name not in ("parent", "name")]
    for key in kwargs:
        if key not in known:
            raise UserError(
                f"{field}.kwargs.{key} is no argument of {name!r}{suggest(key, known)}"
                f" (known: {', '.join(known)})"
            )
    # JSON and command lines turn tuples into lists, which Linen cannot hash.
    plain = {k: tuple(v) if isinstance(v, list) else v for k, v in kwargs.items()}
    return module(**plain)


def generator(name: str, kwargs: dict[str, Any], scale: int, field: str = "generator") -> Any:
    """Returns the generator module `name` of `GENERATORS` at `scale`.

    Raises:
      UserError: unknown name, argument or scale; `field` says where it stands.
    """
    if scale not in SCALES:
        raise UserError(f"scale={scale} is not supported; choose one of {SCALES}")
    return _build(GENERATORS, name, {**kwargs, "scale": scale}, field)


def discriminator(name: str, kwargs: dict[str, Any], **more: Any) -> nn.Module:
    """Returns the discriminator module `name` of `DISCRIMINATORS`; `more` may hold `mean`."""
    return _build(DISCRIMINATORS, name, {**kwargs, **more}, "config.discriminator")


def init(module: nn.Module, key: Array, size: int) -> Any:
    """Returns fresh parameters; images have `size` x `size` pixels, or as many as it needs."""
    size = max(size, getattr(module, "smallest", 1))
    return jax.jit(module.init)(key, jax.numpy.zeros((1, size, size, 3)))["params"]


def parameters(params: Any) -> int:
    """Returns the number of trainable numbers in `params`."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
