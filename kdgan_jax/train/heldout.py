"""The held-out photos of a run, and what its models should make of them."""

from collections.abc import Mapping

import numpy as np

from kdgan_jax.config.settings import RunConfig
from kdgan_jax.data.photos import Photo, decode, load
from kdgan_jax.evaluation import measure
from kdgan_jax.evaluation.measure import Example
from kdgan_jax.inference.model import Model
from kdgan_jax.inference.reduced import Reduced
from kdgan_jax.runtime import processes
from kdgan_jax.train.phase_setup import PhaseSetup

Teachers = Mapping[str, Model | Reduced]  # by name


class HeldOut:
    """Decoded photos; every process has its share of them."""

    def __init__(self, photos: list[Photo], config: RunConfig) -> None:
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
