"""Trains a teacher, distils it into a small student, refines the student adversarially.

python -m kdgan_jax.main --config=configs/kd.py --workdir=runs/kd
"""

import contextlib
import logging
import time
from collections.abc import Iterator

from absl import flags
from ml_collections import ConfigDict

from kdgan_jax.config import FIELDS, command
from kdgan_jax.runtime import console, devices, processes

DISTRIBUTED = flags.DEFINE_bool(
    "distributed",
    False,
    "Be one of several processes that train together. They find each other by the three flags"
    " below, else by JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, else through"
    " the cluster (SLURM, Open MPI)",
)
COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Number of processes")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "Number of this process, from 0")


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Joins the other processes if a flag asks for it; only process 0 logs more than warnings."""
    addresses = COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value
    if not DISTRIBUTED.value and addresses == (None, None, None):
        yield
        return
    with processes.joined(*addresses) as summary:
        console.log.info("%s", summary)
        if not processes.first():
            console.log.setLevel(logging.WARNING)
        yield


def run(config: ConfigDict, workdir: str) -> None:
    """Carries out the run that `config` describes; see `kdgan_jax.train.run`."""
    devices.configure(training=True)
    with joined():
        from kdgan_jax.train import run as training

        training.run(config, workdir, spent=time.monotonic() - console.STARTED)


if __name__ == "__main__":
    command.start(run, FIELDS)
