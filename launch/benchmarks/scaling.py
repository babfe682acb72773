r"""Throughput and efficiency of a phase's train step against the number of devices.

    python -m launch.benchmarks.scaling --devices=1,2,4 [--config=configs/kd.py:scratch]
        [--phase=distill]
    python -m launch.local --processes=2 --devices_per_process=2 -- \
        python -m launch.benchmarks.scaling --devices=2,4

Measures weak scaling (the same number of images on every device) and strong scaling (the same
global batch shared by more devices). Patches are cut on the device from the config's photos. The
numbers of devices are timed in rounds, one after the other; figures are medians and quartiles over
rounds. Speed-up and efficiency compare times of the same round with the smallest number of devices.
Writes `scaling.md`, `scaling.json` and `scaling.png`. Memory must hold all numbers of devices at
once.
"""

import dataclasses
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from kdgan_jax import main, models
from kdgan_jax.config import FIELDS, command
from kdgan_jax.config.settings import LoopConfig, RunConfig
from kdgan_jax.data import buffers
from kdgan_jax.data.buffers import Buffers
from kdgan_jax.data.photos import Photo
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime import console, devices, files, processes
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train import checks, inputs
from kdgan_jax.train.feed import FeedFactory, feed_factory
from kdgan_jax.train.loop import steps_per_call
from kdgan_jax.train.phase_setup import PhaseSetup, frozen_weights
from kdgan_jax.workdir import record
from launch.benchmarks.data import Loop, quartiles

DEVICES = flags.DEFINE_list("devices", None, "Numbers of devices of all processes, such as 1,2,4")
PHASE = flags.DEFINE_string("phase", "adversarial", "A phase of the config, whose step is timed")
_count: Any = {"lower_bound": 1}
PER_DEVICE = flags.DEFINE_integer("batch_per_device", 4, "Images on each, weak scaling", **_count)
GLOBAL = flags.DEFINE_integer("global_batch", 16, "Images on all, strong scaling", **_count)
STEPS = flags.DEFINE_integer("steps", 5, "Train steps of a round", **_count)
ROUNDS = flags.DEFINE_integer("rounds", 7, "How often each number of devices is timed", **_count)

Cell = tuple[int, int]  # (devices, global batch)
Times = Mapping[Cell, Sequence[float]]  # seconds of a step in every round
TITLES = {"weak": "fixed batch per device", "strong": "fixed global batch"}


def parse(words: list[str]) -> list[int]:
    """Returns the numbers of --devices in ascending order.

    Raises:
      UserError: one is not a positive integer, or there are none.
    """
    if not words or not all(word.strip().isdecimal() and int(word) > 0 for word in words):
        raise UserError(
            f"--devices={','.join(words)} must be a list of positive integers, such as 1,2,4"
        )
    return sorted({int(word) for word in words})


def check(numbers: list[int], total: int) -> None:
    """Checks that `numbers` of devices exist and can share `total` images.

    Raises:
      UserError: they do not, or cannot.
    """
    available = devices.count(0, ())
    for number in numbers:
        if number > available:
            raise UserError(
                f"--devices={number}, but there are {available} devices (on a CPU,"
                " JAX_NUM_CPU_DEVICES or launch.local's --devices_per_process sets their number)"
            )
        if number % processes.number():
            raise UserError(
                f"--devices={number} is not divisible by the {processes.number()} processes; choose"
                f" multiples of {processes.number()}"
            )
        if total % number:
            raise UserError(
                f"--global_batch={total} is not divisible by --devices={number}; choose a multiple"
            )


def decoded(run: RunConfig) -> tuple[Buffers, list[Photo]]:
    """Returns (decoded training photos of a run, the photos themselves)."""
    prepared, photos = inputs.photos(run)
    if prepared:
        return prepared, photos.train
    return buffers.build(photos.train, run.scale, run.data.max_bad_fraction)


def untrained(run: RunConfig, name: str) -> PhaseSetup:
    """Returns the phase `name` on one device, as if earlier phases had run without training.

    Weights are fresh or from files that the config names; the time of a step is the same.

    Raises:
      UserError: there is no such phase.
    """
    earlier: dict[str, Model] = {}
    given = inputs.external_models(run, Path(os.devnull))

    def trained(phase_name: str, fold: bool) -> Model:
        return earlier[phase_name].folded() if fold else earlier[phase_name]

    for config in run.phases:
        phase = inputs.set_up_phase(config, run, Path(), given, 1, trained)
        if config.name == name:
            return phase
        model = phase.model
        if model.params is None:
            params = models.init(model.module, jax.random.key(0), 16)["params"]
            model = model.with_params(devices.to_host(params))  # a step donates its state
        earlier[config.name] = model
    raise UserError(f"--phase={name} does not run; choose one of {', '.join(earlier)}")


def make(
    phase: PhaseSetup, intervals: LoopConfig, batch: int, number: int, source: FeedFactory
) -> Loop:
    """Returns a training loop of a phase with `batch` images on `number` devices."""
    # More steps than any number of rounds takes.
    batches = dataclasses.replace(phase.config.batches, batch=batch, steps=10**6)
    config = dataclasses.replace(phase.config, batches=batches)
    phase = dataclasses.replace(phase, config=config, devices=number)
    feed = source(phase.batch_seed, batches)
    loop = Loop(phase, feed, steps_per_call(intervals, config.steps, feed.on_device))
    loop.frozen |= devices.replicate(frozen_weights(phase), number)
    return loop


def measure(loops: dict[Cell, Loop], steps: int, rounds: int) -> dict[Cell, list[float]]:
    """Returns the seconds of a step of each loop in each round, after a round to warm up."""
    times: dict[Cell, list[float]] = {cell: [] for cell in loops}
    with console.progress("timing", len(loops) * (rounds + 1)) as bar:
        for turn in range(rounds + 1):
            # In alternating order: a machine that grows slower affects all loops alike.
            for cell in list(loops)[:: -1 if turn % 2 else 1]:
                loop = loops[cell]
                calls = -(-steps // loop.per_call) if turn else 2
                seconds, _ = loop.run(calls)
                times[cell] += [seconds] * (turn > 0)
                bar.advance()
    return times


def summary(times: Times, per_device: int, total: int) -> list[dict[str, Any]]:
    """Returns a row per kind of scaling and number of devices.

    Args:
      times: of a step.
      per_device: images on each device, for weak scaling.
      total: images on all devices, for strong scaling.

    Returns:
      rows with `quartiles` of seconds per step, images per second, speed-up and efficiency.
    """
    numbers, rows = sorted({number for number, _ in times}), []
    for kind in TITLES:
        base_rate: Any = None
        for number in numbers:
            batch = number * per_device if kind == "weak" else total
            seconds = np.array(times[number, batch])
            rate = batch / seconds
            base_rate = rate if base_rate is None else base_rate
            gain = rate / base_rate
            row = {"scaling": kind, "devices": number, "batch": batch}
            row |= {"seconds_per_step": quartiles(seconds)}
            row |= {"images_per_second": quartiles(rate), "speed_up": quartiles(gain)}
            rows.append(row | {"efficiency": quartiles(gain * numbers[0] / number)})
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Returns the rows as Markdown."""
    lines = ["| | devices | batch | ms per step | images/s | speed-up | efficiency |"]
    lines.append("|---|---|---|---|---|---|---|")
    for row in rows:
        low, rate, high = row["images_per_second"]
        worst, median, best = (100 * share for share in row["efficiency"])
        lines.append(
            f"| {TITLES[row['scaling']]} | {row['devices']} | {row['batch']}"
            f" | {1e3 * row['seconds_per_step'][1]:.1f} | {rate:.1f} ({low:.1f} to {high:.1f})"
            f" | {row['speed_up'][1]:.2f} | {median:.0f} %"
            + (f" ({worst:.0f} to {best:.0f}) |" if worst < best else " |")
        )
    return "\n".join(lines) + "\n"


def plot(path: Path, rows: list[dict[str, Any]], title: str) -> None:
    """Plots images/s and efficiency against devices as PNG; dashed lines are ideal scaling."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    figure = Figure(figsize=(9, 3.8), dpi=120, layout="constrained")
    speed, share = figure.subplots(1, 2)
    figure.suptitle(title, fontsize=11)
    numbers = sorted({row["devices"] for row in rows})
    # Points are shifted sideways, so that neither hides the other's quartiles.
    for kind, colour, shift in ("weak", "tab:blue", 0.98), ("strong", "tab:red", 1.02):
        kind_rows = [row for row in rows if row["scaling"] == kind]
        images = kind_rows[0]["batch"] // (numbers[0] if kind == "weak" else 1)
        label, places = f"{TITLES[kind]} ({images})", shift * np.array(numbers)
        for axes, field, factor in (speed, "images_per_second", 1), (share, "efficiency", 100):
            low, middle, high = factor * np.array([row[field] for row in kind_rows]).T
            spread = middle - low, high - middle
            style = {"marker": "o", "markersize": 5, "linewidth": 1.5, "elinewidth": 1}
            axes.errorbar(places, middle, spread, color=colour, capsize=3, label=label, **style)
        start = kind_rows[0]["images_per_second"][1] / numbers[0]
        speed.plot(places, start * np.array(numbers), "--", color=colour, linewidth=1, alpha=0.5)
    speed.plot([], [], "--", color="grey", linewidth=1, label="ideal")
    share.axhline(100, linestyle="--", color="grey", linewidth=1)
    speed.set_yscale("log")
    speed.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    speed.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    speed.yaxis.set_minor_locator(NullLocator())
    share.set_ylim(0, max(110, share.get_ylim()[1]))
    for axes, name in (speed, "images per second"), (share, "efficiency (%)"):
        axes.set_xscale("log", base=2)
        axes.set_xticks(numbers, [str(number) for number in numbers])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.margins(x=0.1)
        axes.set_xlabel("devices")
        axes.set_title(name, fontsize=10)
        axes.grid(alpha=0.3, linewidth=0.5)
    speed.legend(fontsize=8)
    with files.replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def scale(run: RunConfig, out: Path, numbers: list[int]) -> None:
    """Measures in all processes; process 0 writes the results to the folder `out`."""
    per_device, total = PER_DEVICE.value, GLOBAL.value
    check(numbers, total)
    if processes.first():
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"--out={out}: cannot be created ({error}); choose another folder"
            ) from None
    phase, data = untrained(run, PHASE.value), run.data
    if data.backend == "auto":  # the same for every number of devices
        data = dataclasses.replace(data, backend="device")
    prepared, photos = decoded(run)
    processes.agree([photo.name for photo in photos], "set of photos")
    loops = {}
    for number in numbers:
        source = feed_factory(data, run.scale, photos, prepared, number)
        for batch in dict.fromkeys((number * per_device, total)):
            loops[number, batch] = make(phase, run.loop, batch, number, source)
    times = measure(loops, STEPS.value, ROUNDS.value)
    # Processes of one host share its cores.
    cores = sum(dict(processes.exchange([socket.gethostname(), devices.cores()])).values())
    if not processes.first():
        return
    rows, device = summary(times, per_device, total), devices.describe(max(numbers))
    title = f"{PHASE.value.title()} step on {device}"
    note = f"Medians (quartiles) of {ROUNDS.value} rounds of {STEPS.value} steps."
    if devices.on_cpu():
        note += " A single CPU device already uses several cores."
        if max(numbers) > cores:
            note += f" There are {cores} cores, which limits the scaling of more devices."
    versions = record.versions()
    software = ", ".join(f"{name} {version}" for name, version in versions.items())
    text = f"{title}\n\n{table(rows)}\n{note}\n\n{software}\n"
    files.write_text(out / "scaling.md", text)
    facts = {"device": device, "cores": cores, "processes": processes.number()}
    facts |= {"phase": PHASE.value, "steps": STEPS.value, "versions": versions, "rows": rows}
    facts["seconds"] = [[*cell, *seconds] for cell, seconds in times.items()]
    files.write_json(out / "scaling.json", facts | {"config": dict(run.saved)})
    try:
        plot(out / "scaling.png", rows, title)
    except ImportError:
        console.log.warning("matplotlib is not installed; no plot is drawn")
    console.log.info("%s\nwritten to %s", text, out)


def run(config: ConfigDict, out: str) -> None:
    """Runs the command line, alone or as one of several processes."""
    numbers = parse(DEVICES.value or [])
    devices.configure(training=True)
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        jax.config.update("jax_num_cpu_devices", max(numbers))
    run = checks.checked(config)
    with main.joined():
        scale(run, Path(out), numbers)


if __name__ == "__main__":
    flags.mark_flag_as_required("devices")
    flags.adopt_module_key_flags(main)
    if not any(word.lstrip("-").partition("=")[0] == "config" for word in sys.argv):
        sys.argv.append("--config=configs/kd.py:scratch")
    command.start(run, FIELDS, "runs/scaling", "out", "Folder to write to")
