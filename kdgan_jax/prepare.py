"""Decodes the photos of a run once, into a file that training maps into memory.

python -m kdgan_jax.prepare --config=configs/kd.py --config.data.source=PHOTOS --out=photos.bin
python -m kdgan_jax.main --config=configs/kd.py --config.data.prepared=photos.bin --workdir=runs/kd
"""

import time
from pathlib import Path

from ml_collections import ConfigDict

from kdgan_jax import config as configuration
from kdgan_jax.audit.apart import apart
from kdgan_jax.config import command
from kdgan_jax.data import prepared
from kdgan_jax.data.sources import gather
from kdgan_jax.runtime import console
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train import checks


def run(config: ConfigDict, out: str) -> None:
    """Writes the training and held-out photos of `config` to the file `out`.

    Raises:
      UserError: the config, the file or the photos cannot be used.
    """
    checked = checks.checked(config)
    if Path(out).exists():
        raise UserError(f"--out={out} exists; remove it or choose another name")
    if not Path(out).absolute().parent.is_dir():
        raise UserError(f"--out={out}: its folder does not exist; create it first")
    if config.data.prepared:
        raise UserError(
            f"config.data.prepared={config.data.prepared!r} is already prepared; leave it out"
        )
    began = time.monotonic()
    photos = gather(checked.data, checked.scale, checked.largest_patch, apart)
    number = len(photos.train) + len(photos.holdout)
    try:
        with console.progress("decoding", number) as bar:
            size = prepared.save(out, photos, checked.data, checked.scale, bar.advance)
    except OSError as error:
        raise UserError(
            f"--out={out}: cannot be written ({error}); free space or choose another place"
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
