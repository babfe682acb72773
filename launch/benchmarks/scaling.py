r"""Throughput and efficiency of a phase's whole train step against the number of devices.

    python -m launch.benchmarks.scaling --devices=1,2,4 [--config=configs/kd.py] [--phase=distill]
    python -m launch.local --processes=2 --devices_per_process=2 -- \
        python -m launch.benchmarks.scaling --devices=2,4

Twice: with the same number of images on each device (weak scaling), and with the same batch shared
by more devices (strong scaling). Patches are cut on the device out of the config's photos. The
numbers of devices are timed in rounds, one after the other; figures are medians and quartiles over
rounds. Speed-up and efficiency are of times of one round, over the smallest number of devices.
Leaves `scaling.md`, `scaling.json` and `scaling.png`. All numbers of devices are in memory at once.
"""

import dataclasses
import os
import socket
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from kdgan_jax import config as configuration
from kdgan_jax import main, models
from kdgan_jax.config import command
from kdgan_jax.config.settings import LoopConfig, RunConfig
from kdgan_jax.data import buffers, photos
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime import console, devices, files, processes
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train import checks, inputs
from kdgan_jax.train import feed as feeds
from kdgan_jax.train import loop as loops
from kdgan_jax.train import phase as phases
from kdgan_jax.workdir import record
from launch.benchmarks.data import Loop

DEVICES = flags.DEFINE_list("devices", None, "Numbers of devices of all processes, such as 1,2,4")
PHASE = flags.DEFINE_string("phase", "adversarial", "The phase of the step, as the config has it")
_count: Any = {"lower_bound": 1}
PER_DEVICE = flags.DEFINE_integer("batch_per_device", 4, "Images on each, weak scaling", **_count)
GLOBAL = flags.DEFINE_integer("global_batch", 16, "Images on all, strong scaling", **_count)
STEPS = flags.DEFINE_integer("steps", 5, "Train steps of a round", **_count)
ROUNDS = flags.DEFINE_integer("rounds", 7, "How often each number of devices is timed", **_count)

Times = dict[tuple[int, int], Any]  # (devices, global batch): (rounds,) seconds of a step
TITLES = {"weak": "fixed batch per device", "strong": "fixed global batch"}


def parse(words: list[str]) -> list[int]:
    """Returns the numbers of --devices in order."""
    if not words or not all(word.strip().isdecimal() and int(word) > 0 for word in words):
        raise UserError(f"--devices={','.join(words)} must be numbers from 1, such as 1,2,4")
    return sorted({int(word) for word in words})


def check(numbers: list[int], total: int) -> None:
    """Raises a UserError if there are not such `numbers` of devices to share `total` images."""
    there = devices.count(0, ())
    for number in numbers:
        if number > there:
            raise UserError(
                f"--devices={number}, but there are {there} (on a CPU JAX_NUM_CPU_DEVICES, or"
                " launch.local's --devices_per_process, sets their number)"
            )
        if number % processes.number():
            raise UserError(
                f"--devices={number} is not divisible by the {processes.number()} processes; name"
                " multiples of it"
            )
        if total % number:
            raise UserError(
                f"--global_batch={total} is not divisible by --devices={number}; name a multiple"
            )


def decoded(run: RunConfig) -> tuple[buffers.Buffers, list[photos.Photo]]:
    """Returns the run's training photos, decoded, and which they are."""
    rows, found = inputs.photos(run)
    if rows:
        return rows, found.train
    return buffers.build(found.train, run.scale, run.data.max_bad_fraction)


def untrained(run: RunConfig, name: str) -> phases.Phase:
    """Returns the phase `name` on one device, after phases that have trained nothing.

    Weights are fresh, or of files that the config names: they take as long.
    """
    made: dict[str, Model] = {}
    given = inputs.given(run, Path(os.devnull))
    for own in run.phases:
        phase = inputs.make_phase(
            own, run, Path(), given, 1, lambda one, fold: made[one].folded() if fold else made[one]
        )
        if own.name == name:
            return phase
        model = phase.model
        if model.params is None:
            fresh = models.init(model.module, jax.random.key(0), 16)["params"]
            model = model.with_params(devices.to_host(fresh))  # a step gives its state away
        made[own.name] = model
    raise UserError(f"--phase={name} does not run (phases: {', '.join(made)})")


def make(
    phase: phases.Phase, loop: LoopConfig, batch: int, number: int, source: feeds.Source
) -> Loop:
    """Returns the training of a phase with so many images on so many devices."""
    # Enough steps for all rounds.
    batches = dataclasses.replace(phase.config.batches, batch=batch, steps=10**6)
    own = dataclasses.replace(phase.config, batches=batches)
    phase = dataclasses.replace(phase, config=own, devices=number)
    feed = source(phase.batch_seed, batches)
    made = Loop(phase, feed, loops.steps_per_call(loop, own.steps, feed.on_device))
    made.frozen |= devices.replicate(phases.frozen(phase), number)
    return made


def measure(made: dict[tuple[int, int], Loop], steps: int, rounds: int) -> Times:
    """Returns the seconds of a step of each loop in each round, after two calls to warm up."""
    times: Times = {cell: [] for cell in made}
    with console.progress("timing", len(made) * (rounds + 1)) as bar:
        for turn in range(rounds + 1):
            # There and back: a machine that grows slower does so for all the same.
            for cell in list(made)[:: -1 if turn % 2 else 1]:
                loop = made[cell]
                calls = -(-steps // loop.per_call) if turn else 2
                seconds, _ = loop.run(calls)
                times[cell] += [seconds] * (turn > 0)
                bar.advance()
    return times


def quartiles(values: Any) -> list[float]:
    """Returns the quartiles, the median in the middle."""
    return np.percentile(values, [25, 50, 75]).tolist()


def summary(times: Times, per_device: int, total: int) -> list[dict[str, Any]]:
    """Returns a row per kind of scaling and number of devices; triples are `quartiles`."""
    numbers, found = sorted({number for number, _ in times}), []
    for kind in TITLES:
        first: Any = None
        for number in numbers:
            batch = number * per_device if kind == "weak" else total
            seconds = np.array(times[number, batch])
            first = batch / seconds if first is None else first
            gain = batch / seconds / first
            row = {"scaling": kind, "devices": number, "batch": batch}
            row |= {"seconds_per_step": quartiles(seconds)}
            row |= {"images_per_second": quartiles(batch / seconds), "speed_up": quartiles(gain)}
            found.append(row | {"efficiency": quartiles(gain * numbers[0] / number)})
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """Returns the rows as Markdown."""
    lines = ["| | devices | batch | ms per step | images/s | speed-up | efficiency |"]
    lines.append("|---|---|---|---|---|---|---|")
    for row in rows:
        low, rate, high = row["images_per_second"]
        worst, usual, best = (100 * share for share in row["efficiency"])
        lines.append(
            f"| {TITLES[row['scaling']]} | {row['devices']} | {row['batch']}"
            f" | {1e3 * row['seconds_per_step'][1]:.1f} | {rate:.1f} ({low:.1f} to {high:.1f})"
            f" | {row['speed_up'][1]:.2f} | {usual:.0f} %"
            + (f" ({worst:.0f} to {best:.0f}) |" if worst < best else " |")
        )
    return "\n".join(lines) + "\n"


def plot(path: Path, rows: list[dict[str, Any]], title: str) -> None:
    """Writes images/s and efficiency against devices as PNG: medians, quartiles, dashed ideals."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    figure = Figure(figsize=(9, 3.8), dpi=120, layout="constrained")
    speed, share = figure.subplots(1, 2)
    figure.suptitle(title, fontsize=11)
    numbers = sorted({row["devices"] for row in rows})
    # Beside each other, so that neither hides the other's quartiles.
    for kind, colour, aside in ("weak", "tab:blue", 0.98), ("strong", "tab:red", 1.02):
        own = [row for row in rows if row["scaling"] == kind]
        unit = own[0]["batch"] // (numbers[0] if kind == "weak" else 1)
        label, places = f"{TITLES[kind]} ({unit})", aside * np.array(numbers)
        for axes, field, factor in (speed, "images_per_second", 1), (share, "efficiency", 100):
            low, middle, high = factor * np.array([row[field] for row in own]).T
            spread = middle - low, high - middle
            style = {"marker": "o", "markersize": 5, "linewidth": 1.5, "elinewidth": 1}
            axes.errorbar(places, middle, spread, color=colour, capsize=3, label=label, **style)
        start = own[0]["images_per_second"][1] / numbers[0]
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
    """Measures, in all processes; the first one writes to the folder `out`."""
    per_device, total = PER_DEVICE.value, GLOBAL.value
    check(numbers, total)
    if processes.first():
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out={out}: cannot be made ({error})") from None
    phase, data = untrained(run, PHASE.value), run.data
    if data.backend == "auto":  # the same for every number of devices
        data = dataclasses.replace(data, backend="device")
    rows, which = decoded(run)
    processes.agree([photo.name for photo in which], "set of photos")
    made = {}
    for number in numbers:
        source = feeds.source(data, run.scale, which, rows, number)
        for batch in dict.fromkeys((number * per_device, total)):
            made[number, batch] = make(phase, run.loop, batch, number, source)
    times = measure(made, STEPS.value, ROUNDS.value)
    # Processes of one host share its cores.
    cores = sum(dict(processes.exchange([socket.gethostname(), devices.cores()])).values())
    if not processes.first():
        return
    found, device = summary(times, per_device, total), devices.describe(max(numbers))
    title = f"{PHASE.value.title()} step on {device}"
    note = f"Medians (quartiles) of {ROUNDS.value} rounds of {STEPS.value} steps."
    if devices.on_cpu():
        note += " One CPU device computes on several cores already."
        if max(numbers) > cores:
            note += f" There are {cores}: more devices share them and cannot scale."
    versions = record.versions()
    said = ", ".join(f"{name} {version}" for name, version in versions.items())
    text = f"{title}\n\n{table(found)}\n{note}\n\n{said}\n"
    files.write_text(out / "scaling.md", text)
    facts = {"device": device, "cores": cores, "processes": processes.number()}
    facts |= {"phase": PHASE.value, "steps": STEPS.value, "versions": versions, "rows": found}
    facts["seconds"] = [[*cell, *seconds] for cell, seconds in times.items()]
    files.write_json(out / "scaling.json", facts | {"config": dict(run.saved)})
    try:
        plot(out / "scaling.png", found, title)
    except ImportError:
        console.log.warning("matplotlib is not installed: no plot is made")
    console.log.info("%s\nleft in %s", text, out)


def run(config: Any, out: str) -> None:
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
        sys.argv.append("--config=configs/kd.py")
    command.start(run, configuration.FIELDS, "runs/scaling", "out", "Folder to write to")
