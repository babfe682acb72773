"""A trained network with its weights, ready to upscale pictures."""

import functools
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdgan_jax import devices, models, tiles
from kdgan_jax.errors import UserError
from kdgan_jax.io.logs import log
from kdgan_jax.zoo.ensemble import checked

TILE = 128  # side of a tile in LR pixels, if the network's receptive radius allows it
# Tiles of that side that an accelerator gets at once: one alone does not keep it busy.
BATCH = 8
# What the hungriest network that must see all (Fast-SRGAN) takes for every LR pixel, on a CPU.
WHOLE_IMAGE_BYTES = 8400


@functools.lru_cache(maxsize=32)
def _compiled(module: Any, rounded: bool) -> Callable[[Any, np.ndarray], Any]:
    """Returns (params, LR (n, h, w, 3) uint8) -> SR, compiled once per module and shape.

    SR is uint8 if `rounded`, else float32 as the network gives it.
    """

    def predict(params: Any, lr: Any) -> Any:
        with jax.default_matmul_precision("highest"):  # GPUs would round to 10 bits
            sr, _ = models.apply(module, {"params": params}, lr.astype(jnp.float32) / 255)
        return jnp.floor(jnp.clip(sr, 0, 1) * 255 + 0.5).astype(jnp.uint8) if rounded else sr

    return jax.jit(predict, compiler_options=devices.compiler_options())


def _batch(tiling: tiles.Tiling) -> int:
    """Returns how many tiles go through at once: on accelerators, fewer of larger ones."""
    return 1 if devices.on_cpu() else max(1, BATCH * TILE**2 // tiling.tile**2)


@dataclass(frozen=True)
class Model:
    """A generator and its weights.

    Attributes:
      name: the generator's name in `kdgan_jax.models.GENERATORS`.
      kwargs: its arguments.
      scale: its enlargement.
      params: its weights, host or device arrays.
      about: what is known of it: source, licence, how it was made.
    """

    name: str
    kwargs: dict[str, Any]
    scale: int
    params: Any
    about: dict[str, str] = field(default_factory=dict)

    @property
    def module(self) -> Any:
        """The Linen module; `models.apply(module, {"params": params}, lr)` runs it."""
        return models.generator(self.name, self.kwargs, self.scale)

    @property
    def spec(self) -> dict[str, Any]:
        """What rebuilds the network, as JSON values."""
        return {"name": self.name, "kwargs": self.kwargs, "scale": self.scale}

    @property
    def parameters(self) -> int:
        """Number of trainable numbers."""
        return models.parameters(self.params)

    @functools.cached_property
    def digest(self) -> str:
        """A hash of the weights and of the network that they belong to."""
        found = hashlib.sha256(json.dumps(self.spec, sort_keys=True).encode())
        for leaf in jax.tree.leaves(self.params):
            found.update(np.asarray(leaf).tobytes())
        return found.hexdigest()

    @functools.cached_property
    def on_device(self) -> Any:
        """The weights as device arrays, which are copied there once."""
        return jax.device_put(self.params)

    def folded(self) -> "Model":
        """Returns the model for deployment: of fewer layers that compute the same, where it can be.

        A network without `fold`, or with nothing to fold, stays this model.
        """
        found = self.module.fold(self.params) if hasattr(self.module, "fold") else None
        return self if found is None else replace(self, kwargs=found[0], params=found[1])

    def with_params(self, params: Any) -> "Model":
        """Returns the same network with other weights; nothing is compiled again."""
        return replace(self, params=params)

    def with_about(self, **about: str) -> "Model":
        """Returns the same model with more known of it."""
        return replace(self, about=self.about | about)

    def tiling(self, size: tuple[int, int]) -> tiles.Tiling:
        """Returns how an image of `size` (h, w) is cut.

        A network whose output depends on the whole image gets it whole, unless that might not fit
        into memory.
        """
        module = self.module
        if not getattr(module, "whole_image", False):
            margin, grid = module.receptive_radius, getattr(module, "grid", 1)
            return tiles.Tiling(-(-max(TILE, 4 * margin) // grid) * grid, margin, grid)
        most = math.isqrt(devices.memory() // 2 // WHOLE_IMAGE_BYTES)
        return tiles.WHOLE if size[0] * size[1] <= most**2 else tiles.Tiling(most, most // 8)

    def upscale(
        self, image: np.ndarray, *, on_tile: Callable[[], None] = lambda: None
    ) -> np.ndarray:
        """Returns `image` (h, w, 3) uint8 enlarged to (h * scale, w * scale, 3) uint8.

        Large images go through in tiles, with the same result as whole. A network whose output
        depends on the whole image gets it whole, or with a warning if it might not fit.

        Raises:
          ValueError: the image is not uint8 RGB.
          UserError: it is too small for the network.
        """
        return self._run(image, True, on_tile)

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Returns what `upscale` rounds: float32, 1 for white, not clipped."""
        return self._run(image, False, lambda: None)

    def _run(self, image: np.ndarray, rounded: bool, on_tile: Callable[[], None]) -> np.ndarray:
        image = checked(image)
        smallest = getattr(self.module, "smallest", 1)
        if min(image.shape[:2]) < smallest:
            raise UserError(
                f"an image of {image.shape[1]}x{image.shape[0]} is too small for {self.name}; sides"
                f" must be at least {smallest} pixels"
            )
        size = image.shape[:2]
        tiling = self.tiling(size)
        if getattr(self.module, "whole_image", False) and tiling != tiles.WHOLE:
            log.warning(
                "%dx%d pixels may not fit into memory; %s, whose output depends on the whole image,"
                " gets it in tiles of %d, whose seams may show",
                *size[::-1],
                self.name,
                tiling.tile,
            )
        predict, params = _compiled(self.module, rounded), self.on_device
        return tiles.run(
            lambda parts: np.asarray(predict(params, parts)),
            image,
            scale=self.scale,
            tiling=tiling,
            batch=_batch(tiling),
            on_tile=on_tile,
        )
