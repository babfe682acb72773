"""Trains a teacher, distils it into a small student, refines the student adversarially.

python -m kdgan_jax.main --config=configs/kd.py --workdir=runs/kd
"""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from absl import flags

from kdgan_jax import config as configuration
from kdgan_jax.config import command
from kdgan_jax.runtime import console, devices, processes

DISTRIBUTED = flags.DEFINE_bool(
    "distributed",
    False,
    "Be one of several processes that train together: see the three flags below; without them,"
    " what JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID say; without these, what"
    " the cluster says (SLURM, Open MPI)",
)
COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes there are")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0")


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Joins the other processes that the flags speak of, if any; all but the first are quiet."""
    given = COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value
    if not DISTRIBUTED.value and given == (None, None, None):
        yield
        return
    with processes.joined(*given) as found:
        console.log.info("%s", found)
        if not processes.first():
            console.log.setLevel(logging.WARNING)
        yield


def run(config: Any, workdir: str) -> None:
    """Makes the run that `config` describes, see `kdgan_jax.train.run`."""
    devices.configure(training=True)
    with joined():
        from kdgan_jax.train import run as training

        training.run(config, workdir)


if __name__ == "__main__":
    command.start(run, configuration.FIELDS)
