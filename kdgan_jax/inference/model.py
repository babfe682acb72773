"""A trained network with its weights, ready to upscale pictures."""

import functools
import html
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from kdgan_jax import models
from kdgan_jax.formats import native
from kdgan_jax.formats.weights import Weights
from kdgan_jax.inference import engines, tiles
from kdgan_jax.inference.ensemble import checked_image, quantise
from kdgan_jax.models.types import Params
from kdgan_jax.runtime import devices
from kdgan_jax.runtime.console import log
from kdgan_jax.runtime.errors import UserError

# Side of a tile in LR pixels, if the network's receptive radius allows it. Large ones overlap less.
# JAX compiles for each size, so on an accelerator there is one beside those of smaller images.
TILE, LARGE_TILE = 128, 512
BATCH = 8  # tiles of that side that an accelerator gets at once; one alone does not keep it busy
# Memory per LR pixel on a CPU of Fast-SRGAN, the largest of the networks that see the whole image;
# RRDBNet takes about as much.
WHOLE_IMAGE_BYTES = 8400


@functools.lru_cache(maxsize=32)
def _compiled(module: nn.Module, rounded: bool) -> Callable[[Params, np.ndarray], jax.Array]:
    """Returns (params, LR (n, h, w, 3)) -> SR, compiled once per module and shape.

    LR is uint8 or uint16. SR is uint8 if `rounded`, otherwise the network's float32.
    """

    def predict(params: Params, lr: jax.Array) -> jax.Array:
        with jax.default_matmul_precision("highest"):  # GPUs would round to 10 bits
            white = jnp.iinfo(lr.dtype).max
            sr, _ = models.apply(module, {"params": params}, lr.astype(jnp.float32) / white)
        return jnp.floor(jnp.clip(sr, 0, 1) * 255 + 0.5).astype(jnp.uint8) if rounded else sr

    return jax.jit(predict, compiler_options=devices.compiler_options())


def _batch(tiling: tiles.Tiling) -> int:
    """Returns how many tiles run at once: 1 on a CPU, on accelerators about `BATCH * TILE**2`."""
    return 1 if devices.on_cpu() else max(1, BATCH * TILE**2 // tiling.tile**2)


@dataclass(frozen=True, eq=False, repr=False)
class Model(Weights):
    """A generator and its weights, ready to run.

    Attributes:
      engine: what runs it, one of `engines.NAMES`.
      tile: side of the tiles into which images are cut, in LR pixels; 0 chooses.
    """

    engine: str = engines.JAX
    tile: int = 0

    @classmethod
    def of(cls, weights: Weights, engine: str = engines.JAX) -> Self:
        """Returns the model that runs `weights`."""
        facts = weights.name, weights.kwargs, weights.scale, weights.params, weights.about
        return cls(*facts, engine)

    @functools.cached_property
    def runs_on(self) -> str:
        """The engine that runs it: "onnxruntime" or "jax"."""
        with_jax = replace(self, engine=engines.JAX)
        return engines.chosen(self.engine, self, with_jax.predict)

    @functools.cached_property
    def _sessions(self) -> dict[tuple[engines.Form, int], engines.Run]:
        return {}

    @functools.cached_property
    def on_device(self) -> Any:
        """The weights as device arrays, copied there once."""
        return jax.device_put(self.params)

    def tiling(self, size: tuple[int, int]) -> tiles.Tiling:
        """Returns how an image of `size` (h, w) is cut.

        A network whose output depends on the whole image gets it whole, unless it might not fit
        into memory.
        """
        module = self.module
        if not getattr(module, "whole_image", False):
            margin, grid = module.receptive_radius, getattr(module, "grid", 1)
            with_onnx = self.runs_on == engines.ONNX
            side = self.tile or max(LARGE_TILE if with_onnx else TILE, 4 * margin)
            largest = 0
            if with_onnx and not self.tile:
                largest = side
            elif devices.on_cpu() and not self.tile:
                room = math.isqrt(devices.memory() // 8 // WHOLE_IMAGE_BYTES)
                largest = max(side, min(LARGE_TILE, room))
            return tiles.Tiling(-(-side // grid) * grid, margin, grid, largest)
        if self.tile:
            return tiles.Tiling(self.tile, self.tile // 8)
        largest = math.isqrt(devices.memory() // 2 // WHOLE_IMAGE_BYTES)
        if size[0] * size[1] <= largest**2:
            return tiles.WHOLE
        return tiles.Tiling(largest, largest // 8)

    def __repr__(self) -> str:
        """Returns the network in one line, without its weights."""
        number = "no weights" if self.params is None else f"{self.parameters:,} parameters"
        return f"<Model {self.name} x{self.scale}, {number}>"

    def __eq__(self, other: object) -> bool:
        """Returns whether it is the same network with the same weights."""
        return isinstance(other, Weights) and self.digest == other.digest

    def __hash__(self) -> int:
        """Returns a hash of the network and its weights."""
        return hash(self.digest)

    def _repr_html_(self) -> str:
        """Returns a table of what is known about the model, for notebooks."""
        options = ", ".join(f"{key}={value}" for key, value in self.kwargs.items())
        facts = {"network": f"{self.name} {options}", "scale": str(self.scale)}
        facts |= {"parameters": f"{self.parameters:,}"} | self.about
        rows = "".join(
            f"<tr><th>{html.escape(key)}</th><td>{html.escape(str(value))}</td></tr>"
            for key, value in facts.items()
        )
        return f"<table>{rows}</table>"

    def apply(self, lr: jax.Array, params: Params | None = None) -> jax.Array:
        """Returns the network's images, for JAX code of your own: pure and differentiable.

        Args:
          lr: RGB (B, h, w, 3), floats, 1 for white.
          params: other weights of the network; its own by default.

        Returns:
          (B, h * scale, w * scale, 3), not clipped.
        """
        variables = {"params": self.params if params is None else params}
        return models.apply(self.module, variables, lr)[0]

    def save(self, path: str | Path) -> None:
        """Writes the model as one file, which `load` reads.

        Raises:
          UserError: the suffix is not .safetensors, or the file cannot be written.
        """
        if Path(path).suffix != ".safetensors":
            raise UserError(f"{path}: a model's file must have the suffix .safetensors")
        try:
            native.save(Path(path).expanduser(), self)
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error})") from None

    def upscale(self, image: Any, *, on_tile: Callable[[], None] = lambda: None) -> Any:
        """Returns `image` enlarged by `scale`, as the same kind.

        Large images are cut into tiles, with the same result as the whole image. A network whose
        output depends on the whole image is run on tiles, with a warning, only if the image might
        not fit into memory. What is grey stays grey (`colour.is_grey`); transparency is enlarged by
        bicubic, and what it hides changes nothing.

        Args:
          image: a path, a PIL image, or an array (NumPy or JAX): uint8, uint16, or float from 0 to
            1; (h, w), (h, w, C) or (B, h, w, C), where C is 1 for grey, 3 for RGB, and 2 or 4 with
            transparency. A path gives a PIL image.
          on_tile: called after every tile.

        Raises:
          TypeError, ValueError: the image is something else.
          UserError: a file cannot be read, or the image is too small for the network.
        """
        from kdgan_jax.inference import kinds  # which uses models

        return kinds.enlarged(self, image, on_tile)

    def raw(self, image: np.ndarray, *, on_tile: Callable[[], None] = lambda: None) -> np.ndarray:
        """Returns the network's own image, rounded: what is measured, and what students learn."""
        if np.asarray(image).dtype == np.uint16:
            return quantise(self.predict(image, on_tile=on_tile), np.uint16)
        return self._run(image, True, on_tile)

    def predict(
        self, image: np.ndarray, *, on_tile: Callable[[], None] = lambda: None
    ) -> np.ndarray:
        """Returns the result of `raw` before rounding: float32, 1 for white, not clipped."""
        return self._run(image, False, on_tile)

    def _run(self, image: np.ndarray, rounded: bool, on_tile: Callable[[], None]) -> np.ndarray:
        image = checked_image(image)
        height, width = image.shape[:2]
        smallest = getattr(self.module, "smallest", 1)
        if min(height, width) < smallest:
            raise UserError(
                f"an image of {width}x{height} is too small for {self.name}; sides must be at least"
                f" {smallest} pixels"
            )
        tiling = self.tiling((height, width))
        if getattr(self.module, "whole_image", False) and tiling != tiles.WHOLE:
            log.warning(
                "an image of %dx%d may not fit into memory, so %s runs on tiles of %d pixels; its"
                " output depends on the whole image, so seams may show",
                width,
                height,
                self.name,
                tiling.tile,
            )
        made = "uint8" if rounded else "float32"
        return tiles.run(
            self._runner(engines.Form(given=image.dtype.name, made=made), min(height, width)),
            image,
            scale=self.scale,
            tiling=tiling,
            batch=_batch(tiling),
            on_tile=on_tile,
        )

    def _runner(self, form: engines.Form, side: int) -> engines.Run:
        """Returns the network as its engine runs it: tiles (n, h, w, 3) to SR, of `form`.

        Files of networks that enlarge by bicubic do not take images with a `side` of 1.
        """
        if side > 1 and self.runs_on == engines.ONNX:
            key = form, os.getpid()  # threads of a session do not survive a fork
            if key not in self._sessions:
                self._sessions[key] = engines.session(self, form)
            return self._sessions[key]
        devices.check_not_forked()
        predict, params = _compiled(self.module, form.made == "uint8"), self.on_device
        return lambda parts: np.asarray(predict(params, parts))
