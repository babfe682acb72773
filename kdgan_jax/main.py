"""Trains a teacher, distils it into a small student, refines the student adversarially.

python -m kdgan_jax.main --config=configs/kd.py --workdir=runs/kd
"""

from typing import Any

from kdgan_jax import config as configuration
from kdgan_jax import devices
from kdgan_jax.io import commands


def run(config: Any, workdir: str) -> None:
    """Makes the run that `config` describes, see `kdgan_jax.train.run`."""
    devices.configure()
    from kdgan_jax.train import run as training

    training.run(config, workdir)


if __name__ == "__main__":
    commands.start(run, configuration.default())
