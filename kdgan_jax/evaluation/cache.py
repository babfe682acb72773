"""Keeps measured rows, so that a long evaluation resumes where it was stopped.

Each file holds the rows of one model on one set. Its name is a hash of all that the figures depend
on: the model's weights and its engine, the photos' bytes, the same of a model that is the
reference, the scale, the metrics and the protocol.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from kdgan_jax.data.photos import Photo, image_digest
from kdgan_jax.evaluation.measure import HR, Rows, Upscaler
from kdgan_jax.evaluation.metrics import METRICS, PROTOCOL
from kdgan_jax.runtime.files import read_json, write_json


def set_digest(photos: Sequence[Photo]) -> str:
    """Returns a hash of the photos' names and bytes, and of what is made of them."""
    digest = hashlib.sha256()
    for photo in photos:
        hr, lr = image_digest(photo.hr), image_digest(photo.lr)
        digest.update(f"{photo.name} {hr} {lr} {photo.part} {photo.copy}\n".encode())
    return digest.hexdigest()


def rows_path(
    folder: Path,
    upscaler: Upscaler,
    photos_digest: str,
    scale: int,
    metrics: Sequence[str],
    teacher: Upscaler | None = None,
) -> Path:
    """Returns the path of the rows of `upscaler` on the photos with a `set_digest`.

    `teacher` is the model that it is compared with, None for HR or no reference.
    """
    reference = teacher.digest() if teacher else HR
    facts = [upscaler.digest(), photos_digest, reference, scale, sorted(metrics), PROTOCOL]
    facts.append(list(METRICS))  # the fields of a row
    digest = hashlib.sha256(json.dumps(facts).encode())
    return folder / f"{digest.hexdigest()[:24]}.json"


def load(
    path: Path, model: str, dataset: str, reference: str | None = HR
) -> tuple[Rows, Rows] | None:
    """Returns the (row, rows per image) stored at `path`, with these names instead of their own.

    Returns None if there are none or the file is damaged; they are then measured again.
    """
    names = {"model": model, "dataset": dataset, "reference": reference}
    try:
        stored = read_json(path)
        return [stored["row"] | names], [row | names for row in stored["per_image"]]
    except (ValueError, KeyError, TypeError):
        return None


def store(path: Path, rows: Rows, per_image: Rows) -> None:
    """Writes the row of one model on one set, and its rows per image, to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"row": rows[0], "per_image": per_image})
