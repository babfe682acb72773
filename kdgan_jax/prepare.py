"""Decodes the photos of a run once, into a file that training maps into memory.

python -m kdgan_jax.prepare --config=configs/kd.py --config.data.source=PHOTOS --out=photos.bin
python -m kdgan_jax.main --config=configs/kd.py --config.data.prepared=photos.bin --workdir=runs/kd
"""

import time
from pathlib import Path
from typing import Any

from kdgan_jax import config as configuration
from kdgan_jax.config import command
from kdgan_jax.data import photos as sources
from kdgan_jax.data import prepared
from kdgan_jax.runtime import console
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train import checks


def run(config: Any, out: str) -> None:
    """Writes the photos that `config` names, those held out among them, to the file `out`."""
    checked = checks.checked(config)
    if Path(out).exists():
        raise UserError(f"--out={out} exists; remove it or choose another name")
    if not Path(out).absolute().parent.is_dir():
        raise UserError(f"--out={out}: its folder does not exist; make it first")
    if config.data.prepared:
        raise UserError("config.data.prepared names a file that is prepared already; leave it out")
    began = time.monotonic()
    photos = sources.gather(checked.data, checked.scale, checked.largest_patch)
    number = len(photos.train) + len(photos.holdout)
    try:
        with console.progress("decoding", number) as bar:
            size = prepared.save(out, photos, checked.data, checked.scale, bar.advance)
    except OSError as error:
        raise UserError(
            f"--out={out}: cannot be written ({error}); nothing is left of it"
        ) from None
    console.log.info(
        "%s: %d photos at x%d, %.0f MB, in %.0f s",
        out,
        number,
        checked.scale,
        size / 2**20,
        time.monotonic() - began,
    )


if __name__ == "__main__":
    command.start(
        run,
        configuration.FIELDS,
        flag="out",
        meaning="File to write",
        example="--config=configs/kd.py --config.data.source=PHOTOS --out=photos.bin",
    )
