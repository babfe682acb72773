"""The held-out photos of a run, and what its models should make of them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from kdgan_jax.config.settings import RunConfig
from kdgan_jax.data.photos import Photo, decode, load
from kdgan_jax.evaluation import measure, metrics
from kdgan_jax.evaluation.measure import Example
from kdgan_jax.inference.model import Model
from kdgan_jax.inference.reduced import Reduced
from kdgan_jax.pictures import bicubic
from kdgan_jax.runtime import processes
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train.phase_setup import PhaseSetup

Teachers = Mapping[str, Model | Reduced]  # by name
SHOWN, LARGEST = 4, 256  # photos in a picture, and the largest side of each in pixels
COLUMN = "holdout_"  # begins a column of the log


class Scores(NamedTuple):
    """How a model does on the held-out photos.

    Attributes:
      means: metrics, by their column of the log.
      picture: (H, W, 3) uint8, a row per photo: bicubic, the model's image, and the reference.
    """

    means: dict[str, float]
    picture: np.ndarray


def scores(model: Model, examples: Sequence[Example], names: Sequence[str]) -> Scores:
    """Returns the mean metrics of a model over the photos of all processes.

    Args:
      model: to measure.
      examples: this process's share of the photos.
      names: of the metrics, entries of `METRICS`; photos may be too small for some.
    """
    names = metrics.measurable(names, shortest_side(examples), model.scale)
    values: list[list[float]] = []
    rows: list[np.ndarray] = []
    for example in examples:
        sr = model.raw(example.lr)
        pair = sr, example.reference
        values.append([metrics.METRICS[name](*pair, model.scale) for name in names])
        if len(rows) < SHOWN:
            plain = bicubic.upscale(example.lr, model.scale)
            rows.append(np.concatenate([_middle(image) for image in (plain, *pair)], axis=1))
    means = np.mean(processes.collect(values), axis=0)
    return Scores(
        {f"{COLUMN}{name}": float(mean) for name, mean in zip(names, means, strict=True)},
        _stacked(rows),
    )


def shortest_side(examples: Sequence[Example]) -> int:
    """Returns the shortest side of the references of all processes, in pixels."""
    own = [min(example.reference.shape[:2]) for example in examples]
    return min(side for sides in processes.exchange(own) for side in sides)


def _middle(image: np.ndarray) -> np.ndarray:
    """Returns the middle of an image, with sides of up to `LARGEST` pixels."""
    top, left = (max(0, side - LARGEST) // 2 for side in image.shape[:2])
    return image[top : top + LARGEST, left : left + LARGEST]


def _stacked(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Returns images of any width below each other, on white."""
    width = max((row.shape[1] for row in rows), default=0)
    padded = [
        np.pad(row, [(0, 0), (0, width - row.shape[1]), (0, 0)], constant_values=255)
        for row in rows
    ]
    return np.concatenate(padded) if padded else np.zeros((0, 0, 3), np.uint8)


class HeldOut:
    """Decoded photos; every process has its share of them."""

    def __init__(self, photos: list[Photo], config: RunConfig) -> None:
        side = metrics.smallest_side(["psnr_y"], config.scale)
        for photo in photos:
            if min(photo.size) < side:
                height, width = photo.size
                raise UserError(
                    f"{photo.place}: {width}x{height} is too small to be held out; remove it, sides"
                    f" must be at least {side} pixels"
                )
        decoded = decode(
            photos,
            lambda photo: load(photo, config.scale),
            config.data.max_bad_fraction,
            "the held-out photos",
        )
        images = [(photo.name, images) for photo, images in decoded]
        self._share: list[tuple[str, dict[str, np.ndarray]]] = processes.share(images)
        self._images_of: dict[str, list[Example]] = {}  # by a teacher's name and digest

    def truth(self) -> list[Example]:
        """Returns the photos that have HR, with HR as reference."""
        return [Example(name, i["hr"], i["lr"]) for name, i in self._share if "hr" in i]

    def against(self, name: str, teacher: Model | Reduced) -> list[Example]:
        """Returns all photos with a teacher's images as references, which are computed once."""
        key = f"{name} {teacher.digest}"
        if key not in self._images_of:
            upscaler = measure.from_model(name, teacher)
            self._images_of[key] = [
                measure.referred(photo, images["lr"], upscaler) for photo, images in self._share
            ]
        return self._images_of[key]

    def goal(self, setup: PhaseSetup) -> list[Example]:
        """Returns the photos with what the phase's model should make of them.

        That is HR, or the image of the phase's first teacher if the phase reads no HR.
        """
        if setup.config.needs_hr:
            return self.truth()
        name = next(iter(setup.teachers))
        return self.against(name, setup.at_scale(name))
