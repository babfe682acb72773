"""Trains a super-resolution forest (Schulter et al. 2015), a baseline that is not a network.

python -m kdgan_jax.forest --config=configs/forest.py --workdir=runs/forest
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from kdgan_jax.audit.apart import apart
from kdgan_jax.baselines import forest_settings, forest_training, random_forest
from kdgan_jax.baselines.forest_settings import ForestConfig
from kdgan_jax.config import command
from kdgan_jax.data.photos import Photo, decode, load_pair
from kdgan_jax.data.sources import gather
from kdgan_jax.evaluation.metrics import psnr_y
from kdgan_jax.pictures import bicubic
from kdgan_jax.runtime import console, files
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train import earlier

RESULTS = "results.json"  # in a workdir; written last


def is_complete(settings: ForestConfig, workdir: Path) -> bool:
    """Returns whether `workdir` holds the forest of these settings.

    Raises:
      UserError: it holds a forest of other settings, or the forest is damaged.
    """
    earlier.same_config(settings.saved, workdir / "config.json")
    if not (workdir / RESULTS).is_file():
        return False
    source = random_forest.load(workdir).recipe["data"]["source"]
    if source != settings.data.source:
        raise UserError(
            f"{workdir} holds a forest of config.data.source={source!r}, not"
            f" {settings.data.source!r}; choose another --workdir, or the same photos"
        )
    return True


def measure(
    forest: random_forest.Forest, photos: list[Photo], max_bad_fraction: float
) -> list[dict[str, Any]]:
    """Returns PSNR on Y in dB of bicubic and of the forest, for every photo that can be decoded.

    Raises:
      UserError: more than `max_bad_fraction` of the photos cannot be decoded.
    """
    scale, rows = forest.scale, []
    pairs = decode(
        photos, lambda photo: load_pair(photo, scale), max_bad_fraction, "held-out photos"
    )
    for photo, (hr, lr) in pairs:
        images = {"bicubic": bicubic.upscale(lr, scale), "forest": forest.upscale(lr)}
        psnr = {name: psnr_y(image, hr, scale) for name, image in images.items()}
        rows.append({"photo": photo.name} | psnr)
    return rows


def run(config: ConfigDict, workdir: str | Path) -> None:
    """Trains the forest of `config`; leaves it, the config and held-out PSNR in `workdir`.

    Raises:
      UserError: the config, the photos or the contents of `workdir` are wrong.
    """
    workdir, begin = Path(workdir), time.monotonic()
    settings = forest_settings.checked(config)
    if is_complete(settings, workdir):
        console.log.info("%s: the forest is complete", workdir)
        return
    split = gather(settings.data, settings.scale, 3 * settings.scale, apart)
    photos = forest_training.readable(split.train, settings)
    console.log.info("%d photos to train on, %d held out", len(photos), len(split.holdout))
    workdir.mkdir(parents=True, exist_ok=True)
    files.write_json(workdir / "config.json", settings.saved)
    forest = forest_training.train(photos, settings)
    forest.save(workdir / random_forest.FILE)
    seconds = time.monotonic() - begin
    rows = measure(forest, split.holdout, settings.data.max_bad_fraction)
    means = {name: float(np.mean([row[name] for row in rows])) for name in ("bicubic", "forest")}
    costs = {"parameters": forest.parameters, "seconds_of_training": seconds}
    files.write_json(workdir / RESULTS, {"psnr_y": means, **costs, "per_photo": rows})
    console.log.info(
        "held out (%d): bicubic %.3f dB, forest %.3f dB; %.0f s of training",
        len(rows),
        means["bicubic"],
        means["forest"],
        seconds,
    )


if __name__ == "__main__":
    command.start(run, forest_settings.default(), default="runs/forest")
