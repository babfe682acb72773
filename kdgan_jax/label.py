"""Computes the images of a config's stored teachers once, into a folder that training reads.

python -m kdgan_jax.label --config=configs/photo_soft.py --config.data.source=PHOTOS --out=labels
python -m kdgan_jax.main --config=configs/photo_soft.py --config.data.source=PHOTOS \\
    --config.data.labels=labels --workdir=runs/photo_soft
"""

import os
from pathlib import Path

from ml_collections import ConfigDict

from kdgan_jax import config as configuration
from kdgan_jax.config import command
from kdgan_jax.config.settings import RunConfig
from kdgan_jax.data.buffers import Buffers
from kdgan_jax.runtime import console, devices
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train import checks, feed, inputs
from kdgan_jax.train.labelling import StoredTeacher, stored_rows


def run(config: ConfigDict, out: str) -> None:
    """Stores the labels of `config` in the folder `out`; labels that are there stay.

    Raises:
      UserError: the config, a model, the photos or the folder cannot be used.
    """
    devices.configure(training=True)  # as a run, which makes the same labels
    devices.check_platforms()
    checked = checks.checked(config)
    if checked.minutes:
        raise UserError(
            f"config.minutes={checked.minutes:g}: such a run chooses the copies of its photos, so"
            " it makes its labels itself; set config.minutes to 0, or start kdgan_jax.main"
        )
    teachers = _teachers(checked)
    photos, names = _decoded(checked)
    for teacher in teachers:
        stored_rows(teacher, photos, Path(out), checked.data.labels_mb, names)
    console.log.info("A run reads them with --config.data.labels=%s", out)


def _teachers(run: RunConfig) -> list[StoredTeacher]:
    """Returns the stored teachers of all phases whose models come from elsewhere.

    Raises:
      UserError: there are none, or a model cannot be used.
    """
    stored = [
        (f"config.train.{phase.name}.teachers.{name}", name, phase.teachers[name])
        for phase in run.phases
        if not phase.checkpoint
        for name in phase.stored
    ]
    if not stored:
        raise UserError(
            "--config: no phase stores the images of a teacher; set"
            " config.train.PHASE.teachers.NAME.stored to 'uint8', or start kdgan_jax.main directly"
        )
    models = inputs.external_models(run, Path(os.devnull))
    teachers = []
    for field, name, teacher in stored:
        if f"{field}.model" in models:
            model = models[f"{field}.model"]
            teachers.append(StoredTeacher(name, teacher, model, run.scale))
        else:
            console.log.info(
                "%s.model=%r is a phase of the run: kdgan_jax.main makes its labels when it is"
                " trained",
                *(field, teacher.model),
            )
    if not teachers:
        raise UserError(
            f"{stored[0][0]}.model={stored[0][2].model!r} is a phase of the run, and no stored"
            " teacher comes from elsewhere; start kdgan_jax.main, which makes the labels"
        )
    return teachers


def _decoded(run: RunConfig) -> tuple[Buffers, list[str]]:
    """Returns the training photos and their names."""
    prepared, photos = inputs.photos(run)
    kept = photos.train
    if prepared is None:
        prepared, kept = feed.decoded(kept, run.scale, run.data.max_bad_fraction, with_hr=False)
    return prepared, [photo.name for photo in kept]


if __name__ == "__main__":
    command.start(
        run,
        configuration.FIELDS,
        flag="out",
        meaning="Folder to write to; a second start continues",
        example="--config=configs/photo_soft.py --config.data.source=PHOTOS --out=labels",
    )
