"""Trains a teacher, distils it into a small student, refines the student adversarially.

python -m kdgan_jax.main --config=configs/kd.py --workdir=runs/kd
"""

import logging
import sys

from absl import app, flags
from ml_collections import config_flags

from kdgan_jax import devices
from kdgan_jax.errors import UserError

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file(
    "config", None, "A file of configs/, with a variant after a colon: configs/kd.py:smoke"
)
flags.DEFINE_string("workdir", None, "Folder that the run writes to and resumes from")
flags.mark_flags_as_required(["config", "workdir"])


def main(argv: list[str]) -> None:
    """Runs what the flags name; a user's error is one line and exit code 2."""
    if argv[1:]:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr, force=True)
    logging.getLogger("kdgan_jax").setLevel(logging.INFO)
    devices.configure()
    from kdgan_jax.train.run import run

    try:
        run(FLAGS.config, FLAGS.workdir)
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    app.run(main)
