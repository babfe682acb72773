"""Computes and stores the outputs of teachers for the training photos of a run."""

import contextlib
import datetime
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kdgan_jax.config.settings import DataConfig, TeacherConfig
from kdgan_jax.data import labels
from kdgan_jax.data.buffers import Buffers, to_rows
from kdgan_jax.data.labels import Labels
from kdgan_jax.inference import engines
from kdgan_jax.inference.ensemble import quantise, self_ensemble
from kdgan_jax.inference.model import Model
from kdgan_jax.inference.reduced import Reduced, at_scale
from kdgan_jax.runtime import console, processes
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train.phase_setup import PhaseSetup

LARGEST = float(np.finfo(np.float16).max)  # magnitude that a label holds


class StoredTeacher(NamedTuple):
    """A teacher whose images are stored.

    Attributes:
      name: in its phase.
      config: how its images are stored.
      model: of `scale` or a multiple of it.
      scale: of the images.
    """

    name: str
    config: TeacherConfig
    model: Model
    scale: int


class _Checked(Model):
    """A model that refuses to return an image with a number that is not finite or above LARGEST.

    Rounding to uint8 would hide it.
    """

    def _run(self, image: np.ndarray, rounded: bool, on_tile: Callable[[], None]) -> np.ndarray:
        sr = super()._run(image, False, on_tile)
        if not (sr.min() >= -LARGEST and sr.max() <= LARGEST):  # NaN compares as False
            raise UserError(
                f"the teacher's image has a number that is not finite or above {LARGEST:g}; leave"
                " the photo out, or choose another teacher"
            )
        return quantise(sr) if rounded else sr


def _runnable(model: Model) -> Model:
    """Returns a teacher as the fastest engine runs it."""
    return _Checked.of(model, engines.AUTO)


def output(teacher: Model | Reduced, config: TeacherConfig, lr: np.ndarray) -> np.ndarray:
    """Returns the image to store: (H, W, 3) of `config.stored`, from lr (h, w, 3) uint8.

    In "float16", 1 is white, and values are not clipped.
    """
    if config.stored == "uint8" and not config.ensemble:
        return teacher.raw(lr)
    sr = self_ensemble(teacher.predict, lr) if config.ensemble else teacher.predict(lr)
    return quantise(sr) if config.stored == "uint8" else sr.astype(np.float16)


def stored_outputs(
    setup: PhaseSetup, photos: Buffers | None, data: DataConfig, names: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Returns the rows of stored images of all photos, memory-mapped, by teacher.

    Args:
      setup: the phase with its teachers, of the phase's scale or a higher one.
      photos: decoded; not None if there are such teachers.
      data: where labels are stored, and how many bytes they may take.
      names: of the photos, for messages; without them, photos are numbered.

    Raises:
      UserError: see `stored_rows`.
    """
    folder = Path(data.labels) if data.labels else setup.workdir / "labels"
    outputs = {}
    for name in setup.config.stored:
        assert photos is not None
        config, model = setup.config.teachers[name], setup.teachers[name]
        teacher = StoredTeacher(name, config, model, setup.model.scale)
        outputs[name] = stored_rows(teacher, photos, folder, data.labels_mb, names)
    return outputs


def stored_rows(
    teacher: StoredTeacher,
    photos: Buffers,
    folder: Path,
    megabytes: int,
    names: Sequence[str] = (),
) -> np.ndarray:
    """Returns the rows of a teacher's images of all photos, memory-mapped.

    What is missing is computed; several processes share the work.

    Args:
      teacher: to store.
      photos: decoded.
      folder: where its labels are stored.
      megabytes: that they may take, config.data.labels_mb.
      names: of the photos, for messages; without them, photos are numbered.

    Raises:
      UserError: they would take too many bytes, do not fit on the disk, are not finite, or the
        folder holds labels of other photos.
    """
    teacher = teacher._replace(model=_runnable(teacher.model))
    kept = _labels(teacher, photos, folder)
    if kept.bytes > megabytes * 2**20:
        raise UserError(
            f"teacher {teacher.name!r}: its images of {len(kept.ends):,} photos would take"
            f" {_megabytes(kept)}, but config.data.labels_mb={megabytes}; raise it, or use fewer"
            " photos or copies"
        )
    complete = kept.complete
    processes.agree(complete, f"state of the labels in {folder}")
    if not complete:
        with kept.alone() if processes.first() else contextlib.nullcontext():
            if processes.first():
                kept.begin()
            processes.barrier("the files of labels exist")
            missing = kept.missing()
            processes.agree(missing, f"set of labels in {folder}")
            _make(kept, teacher, photos, missing, names)
            processes.barrier("all labels are written")
            if processes.first():
                kept.finish()
            processes.barrier("the labels are complete")
    rows = kept.load()
    console.log.info(
        "labels of %s: complete, %d photos, %s in %s",
        *(teacher.name, len(kept.ends), _megabytes(kept), folder),
    )
    return rows


def _labels(teacher: StoredTeacher, photos: Buffers, folder: Path) -> Labels:
    config, digest = teacher.config, teacher.model.digest
    engine = engines.described(teacher.model.runs_on)
    processes.agree(engine, "engine that makes labels")
    facts = {
        "teacher": digest,
        "photos": labels.photos_digest(photos),
        "scale": teacher.scale,
        "stored": config.stored,
        "ensemble": config.ensemble,
        "engine": engine,
    }
    words = [teacher.name, digest[:8], config.stored, *["ensemble"] * config.ensemble]
    return Labels(
        folder=folder,
        name="-".join(words),
        facts=facts,
        ends=np.cumsum(_pixels(photos)),
        channels=3 * teacher.scale**2,
        dtype=config.stored,
    )


def _make(
    kept: Labels,
    teacher: StoredTeacher,
    photos: Buffers,
    missing: list[int],
    names: Sequence[str],
) -> None:
    """Computes and stores this process's share of the labels of the photos `missing`."""
    share = processes.share(missing)
    if not share:
        return
    model = at_scale(teacher.model, teacher.scale, f"teacher {teacher.name!r}")

    def label(photo: int) -> np.ndarray:
        try:
            image = output(model, teacher.config, photos.image("lr", photo))
        except UserError as error:
            place = f"{names[photo]!r}" if names else f"{photo + 1} of {len(kept.ends)}"
            raise UserError(f"teacher {teacher.name!r}, photo {place}: {error}") from None
        return to_rows(image, teacher.scale)

    # A photo of median size comes first: its time tells that of all.
    pixels = _pixels(photos)[share]
    share.insert(0, share.pop(int(np.argsort(pixels, kind="stable")[len(pixels) // 2])))
    label(share[0])  # compiles
    began = time.perf_counter()
    rows = label(share[0])
    seconds = (time.perf_counter() - began) * pixels.sum() / len(rows)
    console.log.info(
        "labels of %s: %d of %d photos to compute, about %s; all take %s in %s",
        *(teacher.name, len(missing), len(kept.ends), datetime.timedelta(seconds=round(seconds))),
        *(_megabytes(kept), kept.folder),
    )
    with console.progress(f"labels of {teacher.name}", len(share)) as bar:
        for photo in share:
            kept.write(photo, label(photo) if photo != share[0] else rows)
            bar.advance()


def _megabytes(kept: Labels) -> str:
    return f"{kept.bytes / 2**20:,.0f} MB"


def _pixels(photos: Buffers) -> np.ndarray:
    """Returns the number of LR pixels of each photo, (N,) int64."""
    return photos.sides[:, 0] * photos.sides[:, 1]
