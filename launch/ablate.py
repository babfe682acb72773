"""Runs the variants of a config with several seeds, and compares them.

python -m launch.ablate --sweep=configs/sweeps/smoke.py --workdir=runs/smoke

The same command goes on where an earlier start ended. docs/ablations.md explains it.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax

from kdgan_jax.runtime import console
from kdgan_jax.runtime.errors import STOPPED, UserError, leave
from kdgan_jax.workdir import lock
from launch.ablation import jobs, planning, progress, report, search, sweep
from launch.ablation.planning import Plan
from launch.ablation.slurm import Cluster
from launch.ablation.sweep import Sweep


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m launch.ablate",
        description=__doc__.splitlines()[0],
        epilog="Exit code: 0; 1 if runs failed (each is named); 2 for something to correct; 75 if"
        " it was stopped.",
    )
    add = parser.add_argument
    add("--sweep", required=True, help="a file of configs/sweeps/")
    add("--workdir", required=True, help="folder for all runs and the report")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--jobs",
        type=int,
        default=1,
        help="runs at a time, which share the cores and the GPUs (default: 1)",
    )
    how.add_argument(
        "--slurm",
        nargs="?",
        const="",
        metavar="NAME=VALUE,...",
        help="submit each run as a SLURM job, with options of submitit, such as"
        " timeout_min=600,gpus_per_node=1,slurm_partition=gpu",
    )
    how.add_argument("--status", action="store_true", help="only print what is done")
    how.add_argument("--report", action="store_true", help="only write the report of what is done")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = _parser()
    arguments = parser.parse_args(console.arguments(argv))
    if arguments.jobs < 1:
        parser.error(f"--jobs={arguments.jobs} must be at least 1")
    console.setup()
    # The runs need the accelerators, whose memory this process would take.
    jax.config.update("jax_platforms", "cpu")
    where, folder = f"--sweep={arguments.sweep}", Path(os.path.normpath(arguments.workdir))
    try:
        with console.quiet():
            described = sweep.read(arguments.sweep)
            search.check(described, folder, where)
            plan = _whole(described, folder, where)
        if arguments.status:
            found = progress.standings(plan)
            at_once = sum(s.state == progress.RUNNING for s in found)
            print(progress.table(found, max(1, at_once)))
            return 0
        if arguments.report:
            return _reported(plan)
        return _carried_out(described, plan, arguments)
    except UserError as error:
        leave(error)
    except KeyboardInterrupt:  # before anything has started
        return 130


def _carried_out(described: Sweep, whole: Plan, arguments: argparse.Namespace) -> int:
    """Carries out a sweep, then the trials of its search, and reports; returns the exit code.

    Args:
      described: the sweep, as its file has it.
      whole: its plan, with the trials that were begun before.
      arguments: of the command line.
    """
    folder, where = whole.folder, f"--sweep={arguments.sweep}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--workdir={folder}: cannot be created ({error})") from None
    with lock.alone(folder):
        asked = jobs.Asked()
        asked.listen()
        place: jobs.Place = jobs.Here(arguments.jobs)
        if arguments.slurm is not None:
            place = Cluster(folder / "slurm", arguments.slurm, len(whole.tasks))
        code, failures = 0, 0
        for plan in _plans(described, whole, where):
            last = jobs.carry_out(plan, place, asked)
            code, failures = max(code, last), failures + 1 if last else 0
            if asked.signal is not None:
                done = progress.summary(progress.standings(plan), place.at_once)
                leave(f"Stopped: {done}. Run the same command to go on.", STOPPED)
            if described.search and (reason := search.ended(plan, failures)):
                console.log.warning("The search ends: %s; then run the same command.", reason)
                break
        if described.search:
            whole = _whole(described, folder, where)
        return max(code, _reported(whole))


def _plans(described: Sweep, whole: Plan, where: str) -> Iterator[Plan]:
    """Yields the plan of a sweep; of a search, that without trials, then one for each trial."""
    if not described.search:
        yield whole
        return
    folder = whole.folder
    with console.quiet():
        plan = planning.make(described, folder, where)
    while True:
        yield plan
        with console.quiet():
            more = search.with_next(described, folder, where)
            if more is None:
                return
            plan = planning.make(more, folder, where)


def _whole(described: Sweep, folder: Path, where: str) -> Plan:
    """Returns the plan of a sweep with all trials that were begun."""
    with console.quiet():
        return planning.make(search.with_trials(described, folder), folder, where)


def _reported(plan: Plan) -> int:
    """Writes the report of a sweep, and prints it; returns the exit code."""
    text = report.write(plan)
    print(text, end="")
    if not text.startswith(report.NOTHING):
        console.log.info("The report is in %s.", plan.folder / report.FOLDER)
    return 0


if __name__ == "__main__":
    sys.exit(main())
