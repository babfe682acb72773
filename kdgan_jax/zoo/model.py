"""A trained network with its weights, ready to upscale pictures."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdgan_jax import models, tiles

TILE = 128  # side of a tile in LR pixels, if the network's receptive radius allows it


@functools.lru_cache(maxsize=32)
def _compiled(module: Any, rounded: bool) -> Callable[[Any, np.ndarray], Any]:
    """Returns (params, LR (1, h, w, 3) uint8) -> SR, compiled once per module and shape.

    SR is uint8 if `rounded`, else float32 as the network gives it.
    """

    def predict(params: Any, lr: Any) -> Any:
        sr, _ = module.apply({"params": params}, lr.astype(jnp.float32) / 255)
        return jnp.floor(jnp.clip(sr, 0, 1) * 255 + 0.5).astype(jnp.uint8) if rounded else sr

    return jax.jit(predict)


@dataclass(frozen=True)
class Model:
    """A generator and its weights.

    Attributes:
      name: the generator's name in `kdgan_jax.models.GENERATORS`.
      kwargs: its arguments.
      scale: its enlargement.
      params: its weights, host or device arrays.
    """

    name: str
    kwargs: dict[str, Any]
    scale: int
    params: Any

    @property
    def module(self) -> Any:
        """The Linen module; `module.apply({"params": params}, lr)` gives (sr, features)."""
        return models.generator(self.name, self.kwargs, self.scale)

    @property
    def spec(self) -> dict[str, Any]:
        """What rebuilds the network, as JSON values."""
        return {"name": self.name, "kwargs": self.kwargs, "scale": self.scale}

    @property
    def parameters(self) -> int:
        """Number of trainable numbers."""
        return models.parameters(self.params)

    def with_params(self, params: Any) -> "Model":
        """Returns the same network with other weights; nothing is compiled again."""
        return replace(self, params=params)

    def tiling(self) -> tuple[int, int]:
        """Returns (tile, margin) in LR pixels."""
        margin = self.module.receptive_radius
        return max(TILE, 4 * margin), margin

    def upscale(
        self, image: np.ndarray, *, on_tile: Callable[[], None] = lambda: None
    ) -> np.ndarray:
        """Returns `image` (h, w, 3) uint8 enlarged to (h * scale, w * scale, 3) uint8.

        Large images go through in tiles, with the same result as whole.

        Raises:
          ValueError: the image is not uint8 RGB.
        """
        return self._run(image, True, on_tile)

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Returns what `upscale` rounds: float32, 1 for white, not clipped."""
        return self._run(image, False, lambda: None)

    def _run(self, image: np.ndarray, rounded: bool, on_tile: Callable[[], None]) -> np.ndarray:
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ValueError(
                f"image is {image.dtype}{image.shape}; upscale takes uint8 RGB (height, width, 3)"
            )
        tile, margin = self.tiling()
        predict, params = _compiled(self.module, rounded), jax.device_put(self.params)
        return tiles.run(
            lambda part: np.asarray(predict(params, part[None]))[0],
            image,
            scale=self.scale,
            tile=tile,
            margin=margin,
            on_tile=on_tile,
        )
