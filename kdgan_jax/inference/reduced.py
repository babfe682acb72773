"""A model of a larger scale at a smaller one: its image is reduced by MATLAB's bicubic."""

from dataclasses import dataclass

import numpy as np

from kdgan_jax.inference.model import Model
from kdgan_jax.pictures import bicubic
from kdgan_jax.runtime.errors import UserError


@dataclass(frozen=True)
class Reduced:
    """A model whose image is reduced.

    Attributes:
      model: of a multiple of `scale`.
      scale: the enlargement that is left.
    """

    model: Model
    scale: int

    @property
    def parameters(self) -> int:
        """The number of the model's parameters."""
        return self.model.parameters

    @property
    def about(self) -> dict[str, str]:
        """Facts about the model."""
        return self.model.about

    @property
    def digest(self) -> str:
        """The model's digest with the scale."""
        return f"{self.model.digest} at x{self.scale}"

    def raw(self, image: np.ndarray) -> np.ndarray:
        """Returns `image` (h, w, 3) enlarged to (h * scale, w * scale, 3), both uint8.

        Raises:
          ValueError: the image is not uint8 RGB.
          UserError: it is too small for the model.
        """
        return bicubic.downscale(self.model.raw(image), self.model.scale // self.scale)

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Returns the result of `raw` as float32, 1 for white; MATLAB's bicubic rounds it."""
        return self.raw(image).astype(np.float32) / 255


def at_scale(model: Model, scale: int, field: str) -> Model | Reduced:
    """Returns what enlarges by `scale`: the model itself, or its reduced image.

    Args:
      model: of `scale` or a multiple of it.
      scale: the enlargement that is wanted.
      field: names the model in messages, such as "--reference_model=runs/kd".

    Raises:
      UserError: the model's scale is no multiple of `scale`.
    """
    if model.scale % scale:
        raise UserError(
            f"{field} has scale {model.scale}, which is no multiple of scale {scale}; give a model"
            f" of scale {scale} or a multiple of it"
        )
    return model if model.scale == scale else Reduced(model, scale)
