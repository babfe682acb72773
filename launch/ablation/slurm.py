"""Tasks as jobs of a SLURM cluster, through submitit (the extra `slurm`)."""

import contextlib
import dataclasses
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kdgan_jax.runtime import files
from kdgan_jax.runtime.errors import UserError
from launch.ablation import tasks
from launch.ablation.running import Work
from launch.ablation.tasks import Task

PAUSE = 0.5  # seconds between two looks at a process


class Job:
    """What a job does. A signal before its time limit or a preemption saves and requeues it."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._work: Work | None = None

    def __call__(self) -> int:
        """Carries out the task; returns its exit code."""
        work = self._work = Work(self.task)
        signal.signal(signal.SIGTERM, lambda number, frame: work.stop())
        while True:
            with contextlib.suppress(KeyboardInterrupt):
                code = work.poll()
                if code is not None:
                    return code
                time.sleep(PAUSE)
                continue
            work.stop()

    def checkpoint(self, *arguments: Any) -> Any:
        """Saves the run's step; returns what the requeued job does."""
        from submitit.helpers import DelayedSubmission

        if self._work:
            self._work.stop()
            while self._work.poll() is None:
                time.sleep(PAUSE)
        return DelayedSubmission(Job(self.task))


class Submitted:
    """A task that the cluster has."""

    def __init__(self, task: Task, job: Any) -> None:
        self.task, self._job = task, job

    def poll(self) -> int | None:
        """Returns the exit code once the job has ended, else None."""
        if not self._job.done():
            return None
        try:
            return int(self._job.result())
        except Exception as error:  # the job was cancelled, or ended before it began
            record = tasks.recorded(self.task)
            reason = (str(error).strip() or repr(error)).splitlines()[-1]
            record = dataclasses.replace(record, failed=f"job {self._job.job_id}: {reason}")
            tasks.keep(self.task, dataclasses.replace(record, process=""))
            return 1

    def stop(self) -> None:
        """Cancels the job, which saves its step."""
        if not self._cancelled:
            self._cancelled = True
            self._job.cancel()

    _cancelled = False

    def kill(self) -> None:
        """Cancels the job."""
        self._job.cancel()


class Cluster:
    """A cluster that takes all tasks at once, each as soon as what it needs is done."""

    def __init__(self, folder: Path, options: str, at_once: int, cluster: str = "slurm") -> None:
        """Prepares to submit.

        Args:
          folder: for the jobs' scripts and output.
          options: of submitit, such as "timeout_min=600,slurm_partition=gpu,gpus_per_node=1".
          at_once: the most jobs at a time.
          cluster: "slurm", or "local" to try it without one.

        Raises:
          UserError: submitit or SLURM is not there, or an option is unknown.
        """
        try:
            import submitit
        except ImportError:
            raise UserError(
                "--slurm needs submitit, which is not installed; run pip install 'kdgan_jax[slurm]'"
            ) from None
        self.at_once = at_once
        self._existing: Callable[..., Any] | None = (
            submitit.SlurmJob if cluster == "slurm" else None
        )
        values = dict(_option(word) for word in options.split(",") if word)
        try:
            self._executor = submitit.AutoExecutor(folder, cluster=cluster)
            self._executor.update_parameters(name="kdgan", **values)
        except (AssertionError, NameError, RuntimeError, TypeError, ValueError) as error:
            raise UserError(f"--slurm={options}: {' '.join(str(error).split())}") from None
        self._folder = folder

    def begin(self, task: Task) -> Submitted:
        """Submits a task, or follows the job that an earlier start has submitted."""
        number = task.record.with_suffix(".job")
        if self._existing and number.is_file() and not tasks.changed(task):
            earlier = self._existing(self._folder, files.read_text(number))
            if not earlier.done(force_check=True):
                return Submitted(task, earlier)
        job = self._executor.submit(Job(task))
        number.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(number, job.job_id)
        return Submitted(task, job)


def _option(word: str) -> tuple[str, int | str]:
    name, equals, value = word.strip().partition("=")
    if not equals:
        raise UserError(
            f"--slurm: {word!r} is no option; write NAME=VALUE, such as timeout_min=600"
        )
    return name, int(value) if value.isdecimal() else value
