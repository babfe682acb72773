"""What it costs to feed a small student: patches cut on the device, by tf.data, and not at all.

    python -m launch.benchmarks.data [--source=PHOTOS] [--lr_patch 32 64] [--steps_per_call 1 16]

Prints patches per second of each pipeline alone, milliseconds of a train step with each and with
one batch that lies on the device ("fixed"), the share of a step spent on data, seconds to start,
and the photos' bytes. Steps are timed in rounds, one of each kind after the other; figures are
medians over rounds, and ratios are of times of one round. Without TensorFlow its rows are left out.
"""

import argparse
import contextlib
import dataclasses
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kdgan_jax.config.settings import (
    BatchConfig,
    DataConfig,
    LossConfig,
    OptimizerConfig,
    PhaseConfig,
    Spec,
)
from kdgan_jax.data import buffers, photos, prepared
from kdgan_jax.data.batches import Batch
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime import console, devices
from kdgan_jax.train import feed as feeds
from kdgan_jax.train import phase as phases

SEED, SCALE = 0, 4
STUDENT = Spec("compact", {"channels": 32, "depth": 4})  # of configs/kd.py


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Returns the seconds of a call, and its result."""
    began = time.perf_counter()
    result = function()
    return time.perf_counter() - began, result


def a_phase(lr_patch: int, batch: int, number: int) -> phases.Phase:
    """Returns a phase that trains the student on the truth alone, by L1."""
    own = PhaseConfig(
        name="student",
        network="student",
        spec=STUDENT,
        checkpoint="",
        start="",
        teachers={},
        losses={"pixel": LossConfig(Spec("l1", {}), 1.0, Spec("constant", {}), "hr")},
        discriminator=None,
        batches=BatchConfig(10**6, batch, lr_patch * SCALE),
        optimizer=OptimizerConfig(1e-3),
    )
    model = Model(STUDENT.name, STUDENT.options, SCALE, None)
    return phases.Phase(own, SEED, Path(), model, {}, number)


def fixed(phase: phases.Phase) -> feeds.Feed:
    """Returns a feed of one batch of noise, which lies on the devices."""
    batches = phase.config.batches
    share, size = batches.batch // phase.devices, batches.hr_patch
    random = np.random.default_rng(SEED)

    def noise(side: int) -> jax.Array:
        shape = phase.devices, share, side, side, 3
        return devices.split(random.integers(0, 256, shape, np.uint8), phase.devices)

    index = devices.split(
        np.arange(batches.batch, dtype=np.uint32).reshape(-1, share), phase.devices
    )
    batch = Batch(noise(size // phase.model.scale), {"hr": noise(size)}, {}, index)

    def always(start: int) -> Generator[Any]:
        while True:
            yield batch

    return feeds.Feed({}, lambda arrays, given, step: given, always, on_device=True)


class Loop:
    """Training with one feed, a few calls at a time."""

    def __init__(self, phase: phases.Phase, feed: feeds.Feed, per_call: int) -> None:
        self.state = devices.replicate(phases.initial(phase), phase.devices)
        self.call = phases.compiled(phase, feed)(per_call, False)
        self.frozen = {"photos": feed.arrays}
        self.stream = feed.given(0)
        self.per_call = per_call

    def run(self, calls: int) -> tuple[float, float]:
        """Returns the seconds of a step, and those of them spent waiting for the host's batch."""
        waited = 0.0
        began = time.perf_counter()
        for _ in range(calls):
            took, given = timed(lambda: next(self.stream))
            waited += took
            self.state, metrics = self.call(self.state, self.frozen, given)
        jax.block_until_ready((self.state, metrics))
        steps = calls * self.per_call
        return (time.perf_counter() - began) / steps, waited / steps


def alone(feed: feeds.Feed, phase: phases.Phase, seconds: float) -> float:
    """Returns the patches per second of a feed whose batches nobody trains on."""

    def touch(state: Any, arrays: Any, given: Any) -> tuple[Any, Any]:
        batch = feed.cut(arrays, given, state)
        total = sum(image.astype(np.float32).mean() for image in jax.tree.leaves(batch))
        return state + 1, devices.mean(total)

    call = devices.parallel(touch, phase.devices)
    state = devices.replicate(np.int32(0), phase.devices)
    with contextlib.closing(feed.given(0)) as stream:
        for _ in range(3):
            state, total = call(state, feed.arrays, next(stream))
        jax.block_until_ready(total)
        began, batches = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            for _ in range(8):
                state, total = call(state, feed.arrays, next(stream))
            jax.block_until_ready(total)
            batches += 8
        return batches * phase.config.batches.batch / (time.perf_counter() - began)


def sources(
    data: DataConfig, scale: int, photos_of: photos.Photos, number: int
) -> Iterator[tuple[str, feeds.Source, float]]:
    """Yields each pipeline that can run here with the seconds that it took to start.

    The device's twice: from the photos, and from a file of `kdgan_jax.prepare`.
    """
    device = dataclasses.replace(data, backend="device")
    took, source = timed(lambda: feeds.source(device, scale, photos_of.train, None, number))
    yield "device", source, took
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "photos.bin"
        prepared.save(file, photos_of, data, scale)

        def from_file() -> feeds.Source:
            decoded, known = prepared.load(file, scale)
            return feeds.source(device, scale, known.train, decoded, number)

        took, source = timed(from_file)
        yield "device, prepared", source, took
    if importlib.util.find_spec("tensorflow"):
        host = dataclasses.replace(data, backend="tfdata")
        took, source = timed(lambda: feeds.source(host, scale, photos_of.train, None, number))
        yield "tfdata", source, took


def rounds(loops: dict[str, Loop], calls: int, number: int) -> dict[str, np.ndarray]:
    """Returns (rounds, 2) seconds of a step and of waiting by the feed's name, side by side."""
    for loop in loops.values():
        loop.run(3)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
    for _ in range(number):
        for name, loop in loops.items():
            found[name].append(loop.run(calls))
    return {name: np.array(rows) for name, rows in found.items()}


def main() -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m launch.benchmarks.data", description=__doc__.split("\n\n")[0]
    )
    add = parser.add_argument
    add("--source", default="embedded", help="photos, as in config.data.source")
    add("--batch", type=int, default=16)
    add("--lr_patch", type=int, nargs="+", default=[24, 32, 64])
    add("--steps_per_call", type=int, nargs="+", default=[1])
    add("--rounds", type=int, default=7)
    add("--seconds", type=float, default=2.0, help="that a round of one feed takes, about")
    arguments = parser.parse_args()
    console.setup()
    devices.configure(training=True)
    data = DataConfig(source=arguments.source)
    number = devices.count(0, (arguments.batch,))
    photos_of = photos.gather(data, SCALE, max(arguments.lr_patch) * SCALE)
    found = {}
    print("| feed | seconds to start |\n|---|---|")
    for name, source, took in sources(data, SCALE, photos_of, number):
        print(f"| {name} | {took:.2f} |")
        found[name] = source
    del found["device, prepared"]
    size = buffers.size(photos_of.train, SCALE)
    print(f"\n{devices.describe(number)}; photos take {size / 2**20:.0f} MB, once on a device")
    print(
        "\n| LR patch | steps per call | feed | patches per second alone | ms per step | of fixed"
        " | waiting for data |\n|---|---|---|---|---|---|---|"
    )
    for lr_patch in arguments.lr_patch:
        phase = a_phase(lr_patch, arguments.batch, number)
        feeds_of = {"fixed": fixed(phase)}
        feeds_of |= {name: source(SEED, phase.config.batches) for name, source in found.items()}
        speed = {
            name: f"{alone(feed, phase, arguments.seconds):,.0f}"
            for name, feed in feeds_of.items()
            if name != "fixed"
        }
        for per_call in arguments.steps_per_call:
            with contextlib.ExitStack() as stack:
                loops = {}
                for name, feed in feeds_of.items():
                    if feed.on_device or per_call == 1:
                        loops[name] = Loop(phase, feed, per_call)
                        stack.callback(loops[name].stream.close)
                pace, _ = loops["fixed"].run(3)
                calls = max(2, round(arguments.seconds / pace / per_call))
                times = rounds(loops, calls, arguments.rounds)
            for name, rows in times.items():
                ratio = np.median(rows[:, 0] / times["fixed"][:, 0])
                # On the device data are part of the step: what it takes beyond the fixed batch.
                beyond = (
                    1 - 1 / ratio
                    if feeds_of[name].on_device
                    else np.median(rows[:, 1] / rows[:, 0])
                )
                print(
                    f"| {lr_patch} | {per_call} | {name} | {speed.get(name, '-')}"
                    f" | {1e3 * np.median(rows[:, 0]):.3g} | {ratio:.3f} | {max(beyond, 0):.1%} |",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
