"""Runs the variants of a config with several seeds, and compares them.

python -m launch.ablate --sweep=configs/sweeps/smoke.py --workdir=runs/smoke

The same command goes on where an earlier start ended. docs/ablations.md explains it.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import jax

from kdgan_jax.runtime import console
from kdgan_jax.runtime.errors import STOPPED, UserError, leave
from kdgan_jax.workdir import lock
from launch.ablation import jobs, planning, progress, report, sweep
from launch.ablation.planning import Plan
from launch.ablation.slurm import Cluster


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
            plan = planning.make(sweep.read(arguments.sweep), folder, where)
        if arguments.status:
            print(progress.table(progress.standings(plan), arguments.jobs))
            return 0
        if arguments.report:
            return _reported(plan)
        return _carried_out(plan, arguments)
    except UserError as error:
        leave(error)
    except KeyboardInterrupt:  # before anything has started
        return 130


def _carried_out(plan: Plan, arguments: argparse.Namespace) -> int:
    """Carries out a sweep and reports; returns the exit code."""
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--workdir={plan.folder}: cannot be created ({error})") from None
    with lock.alone(plan.folder):
        asked = jobs.Asked()
        asked.listen()
        place: jobs.Place = jobs.Here(arguments.jobs)
        if arguments.slurm is not None:
            place = Cluster(plan.folder / "slurm", arguments.slurm, len(plan.tasks))
        code = jobs.carry_out(plan, place, asked)
        if code == STOPPED:
            done = progress.summary(progress.standings(plan), place.at_once)
            leave(f"Stopped: {done}. Run the same command to go on.", STOPPED)
        return max(code, _reported(plan))


def _reported(plan: Plan) -> int:
    """Writes the report of a sweep, and prints it; returns the exit code."""
    print(report.write(plan), end="")
    console.log.info("The report is in %s.", plan.folder / report.FOLDER)
    return 0


if __name__ == "__main__":
    sys.exit(main())
