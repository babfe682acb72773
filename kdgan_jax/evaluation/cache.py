"""Rows that were measured before, so that a table of hours goes on where it was stopped.

A file per model and set, named by what its figures depend on: the model's weights, the photos'
bytes, the scale, the metrics and the protocol.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from kdgan_jax.data import photos as sources
from kdgan_jax.data.photos import Photo
from kdgan_jax.evaluation.measure import Rows, Upscaler
from kdgan_jax.evaluation.metrics import PROTOCOL
from kdgan_jax.runtime.files import read_json, write_json


def set_digest(photos: Sequence[Photo]) -> str:
    """Returns a hash of the photos' names and bytes."""
    digest = hashlib.sha256()
    for photo in photos:
        for part in (photo.hr, photo.lr):
            known = sources.digest(part) or "made from HR"
            digest.update(f"{photo.name} {known}\n".encode())
    return digest.hexdigest()


def place(
    folder: Path, upscaler: Upscaler, photos: str, scale: int, metrics: Sequence[str]
) -> Path:
    """Returns where the rows of `upscaler` on the set with the hash `photos` are kept."""
    facts = json.dumps([upscaler.digest(), photos, scale, sorted(metrics), PROTOCOL])
    return folder / f"{hashlib.sha256(facts.encode()).hexdigest()[:24]}.json"


def load(path: Path, model: str, dataset: str) -> tuple[Rows, Rows] | None:
    """Returns (row, rows per image) kept at `path`, under today's names.

    None if there are none, or they are damaged: they are then measured again.
    """
    names = {"model": model, "dataset": dataset}
    try:
        kept = read_json(path)
        return [kept["row"] | names], [row | names for row in kept["per_image"]]
    except (ValueError, KeyError, TypeError):
        return None


def store(path: Path, rows: Rows, per_image: Rows) -> None:
    """Keeps the row of one model on one set, and its rows per image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"row": rows[0], "per_image": per_image})
