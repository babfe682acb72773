"""A trained network with its weights, ready to upscale pictures."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdgan_jax import models
from kdgan_jax.formats.weights import Weights
from kdgan_jax.inference import tiles
from kdgan_jax.inference.ensemble import checked
from kdgan_jax.runtime import devices
from kdgan_jax.runtime.console import log
from kdgan_jax.runtime.errors import UserError

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


class Model(Weights):
    """A generator and its weights, ready to run."""

    @classmethod
    def of(cls, weights: Weights) -> "Model":
        """Returns the model that runs `weights`."""
        return cls(weights.name, weights.kwargs, weights.scale, weights.params, weights.about)

    @functools.cached_property
    def on_device(self) -> Any:
        """The weights as device arrays, which are copied there once."""
        return jax.device_put(self.params)

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
