"""Computes and stores the outputs of teachers for the training photos of a run."""

import time
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np

from kdgan_jax.config.settings import DataConfig, TeacherConfig
from kdgan_jax.data import labels
from kdgan_jax.data.buffers import Buffers, to_rows
from kdgan_jax.data.labels import Labels
from kdgan_jax.inference.ensemble import quantise, self_ensemble
from kdgan_jax.inference.model import Model
from kdgan_jax.inference.reduced import Reduced, at_scale
from kdgan_jax.runtime import console, processes
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train.phase_setup import PhaseSetup


def output(teacher: Model | Reduced, config: TeacherConfig, lr: np.ndarray) -> np.ndarray:
    """Returns the image to store: (H, W, 3) of `config.stored`, from lr (h, w, 3) uint8.

    In "float16", 1 is white, and values are not clipped.
    """
    if config.stored == "uint8" and not config.ensemble:
        return teacher.upscale(lr)
    sr = self_ensemble(teacher.predict, lr) if config.ensemble else teacher.predict(lr)
    return quantise(sr) if config.stored == "uint8" else sr.astype(np.float16)


def stored_outputs(
    setup: PhaseSetup, photos: Buffers | None, data: DataConfig
) -> dict[str, np.ndarray]:
    """Returns the rows of stored images of all photos, memory-mapped, by teacher.

    What is missing is computed; several processes share the work.

    Args:
      setup: the phase with its teachers, of the phase's scale or a higher one.
      photos: decoded; not None if there are such teachers.
      data: where labels are stored, and how many bytes they may take.

    Raises:
      UserError: they would take too many bytes, do not fit on the disk, or the folder holds labels
        of other photos.
    """
    folder = Path(data.labels) if data.labels else setup.workdir / "labels"
    outputs = {}
    for name in setup.config.stored:
        assert photos is not None
        teacher, scale = setup.config.teachers[name], setup.model.scale
        kept = _labels(name, teacher, setup.teachers[name], photos, scale, folder)
        if kept.bytes > data.labels_mb * 2**20:
            raise UserError(
                f"teacher {name!r}: its images of {len(kept.ends):,} photos would take"
                f" {kept.bytes / 2**20:,.0f} MB, but config.data.labels_mb={data.labels_mb}; raise"
                " it, or use fewer photos or copies"
            )
        if processes.first():
            kept.begin()
        processes.barrier("the files of labels exist")
        missing = processes.share(kept.missing())
        _make(kept, missing, teacher, setup.teachers[name], photos, scale)
        processes.barrier("all labels are written")
        if processes.first():
            kept.finish()
        processes.barrier("the labels are complete")
        outputs[name] = kept.load()
    return outputs


def _labels(
    name: str, config: TeacherConfig, model: Model, photos: Buffers, scale: int, folder: Path
) -> Labels:
    pixels = photos.sides[:, 0] * photos.sides[:, 1]
    facts = {
        "teacher": model.digest,
        "photos": labels.photos_digest(photos),
        "scale": scale,
        "stored": config.stored,
        "ensemble": config.ensemble,
        "engine": f"jax {version('jax')} on {jax.default_backend()}",
    }
    return Labels(
        folder=folder,
        name=f"{name}-{model.digest[:8]}",
        facts=facts,
        ends=np.cumsum(pixels),
        channels=3 * scale**2,
        dtype=config.stored,
    )


def _make(
    kept: Labels,
    missing: list[int],
    config: TeacherConfig,
    model: Model,
    photos: Buffers,
    scale: int,
) -> None:
    """Computes and stores the labels of the photos `missing`."""
    if not missing:
        return
    teacher = at_scale(model, scale, f"teacher {kept.name!r}")

    def label(photo: int) -> np.ndarray:
        return to_rows(output(teacher, config, photos.image("lr", photo)), scale)

    label(missing[0])  # compiles
    began = time.perf_counter()
    label(missing[0])
    seconds = (
        (time.perf_counter() - began) * _pixels(photos, missing) / _pixels(photos, missing[:1])
    )
    console.log.info(
        "%s: %d of %d photos get labels, %.0f MB in all, in about %.1f min",
        kept.name,
        len(missing),
        len(kept.ends),
        kept.bytes / 2**20,
        seconds / 60,
    )
    with console.progress("labels", len(missing)) as bar:
        for photo in missing:
            kept.write(photo, label(photo))
            bar.advance()


def _pixels(photos: Buffers, indices: list[int]) -> int:
    sides = photos.sides[indices]
    return int((sides[:, 0] * sides[:, 1]).sum())
