"""The cost of feeding a small student: patches cut on the device, by tf.data, and not at all.

    python -m launch.benchmarks.data [--source=PHOTOS] [--lr_patch 32 64] [--steps_per_call 1 16]

Prints, for each pipeline: patches per second without training, milliseconds of a train step with
it and with a batch that stays on the device ("fixed"), the share of a step spent on data, seconds
to start, and the photos' bytes. Steps are timed in rounds, one after the other with each pipeline.
Figures are medians over rounds; ratios compare times of the same round. Rows of tf.data are left
out without TensorFlow.
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
from typing import Any, TypeVar

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
from kdgan_jax.data import buffers, holdout, prepared, sources
from kdgan_jax.data.batches import Batch
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime import console, devices
from kdgan_jax.train.feed import Feed, FeedFactory, feed_factory
from kdgan_jax.train.phase_setup import PhaseSetup, compiled_steps, initial_state

Result = TypeVar("Result")

SEED, SCALE = 0, 4
STUDENT = Spec("compact", {"channels": 32, "depth": 4})  # as in configs/kd.py


def timed(function: Callable[[], Result]) -> tuple[float, Result]:
    """Returns (seconds that a call took, its result)."""
    began = time.perf_counter()
    result = function()
    return time.perf_counter() - began, result


def student_phase(lr_patch: int, batch: int, number: int) -> PhaseSetup:
    """Returns a phase that trains the student with L1 to HR on `number` devices."""
    config = PhaseConfig(
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
    return PhaseSetup(config, SEED, Path(), model, {}, number)


def fixed_feed(phase: PhaseSetup) -> Feed:
    """Returns a feed of one batch of noise, which stays on the devices."""
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

    return Feed({}, lambda arrays, given, step: given, always, on_device=True)


class Loop:
    """Trains with one feed, a few calls at a time.

    Attributes:
      per_call: steps per compiled call.
      frozen: arrays that the step reads and never changes.
      stream: what the feed gives to each call.
    """

    def __init__(self, phase: PhaseSetup, feed: Feed, per_call: int) -> None:
        self.state = devices.replicate(initial_state(phase), phase.devices)
        self.call = compiled_steps(phase, feed)(per_call, False)
        self.frozen = {"photos": feed.arrays}
        self.stream = feed.stream(0)
        self.per_call = per_call

    def run(self, calls: int) -> tuple[float, float]:
        """Returns the seconds per step, and the part of them spent waiting for the host."""
        waited = 0.0
        began = time.perf_counter()
        for _ in range(calls):
            seconds, given = timed(lambda: next(self.stream))
            waited += seconds
            self.state, metrics = self.call(self.state, self.frozen, given)
        jax.block_until_ready((self.state, metrics))
        steps = calls * self.per_call
        return (time.perf_counter() - began) / steps, waited / steps


def patches_per_second(feed: Feed, phase: PhaseSetup, seconds: float) -> float:
    """Returns the speed of a feed without training, measured for about `seconds`."""

    def touch(state: Any, arrays: Any, given: Any) -> tuple[Any, Any]:
        batch = feed.cut(arrays, given, state)
        total = sum(image.astype(np.float32).mean() for image in jax.tree.leaves(batch))
        return state + 1, devices.mean(total)

    call = devices.parallel(touch, phase.devices)
    state = devices.replicate(np.int32(0), phase.devices)
    with contextlib.closing(feed.stream(0)) as stream:
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


def pipelines(
    data: DataConfig, scale: int, chosen: holdout.Photos, number: int
) -> Iterator[tuple[str, FeedFactory, float]]:
    """Yields (name, source of feeds, seconds to start) of each pipeline that can run here.

    The pipeline on the device starts twice: from photos and from a file of `kdgan_jax.prepare`.
    """
    on_device = dataclasses.replace(data, backend="device")
    seconds, source = timed(lambda: feed_factory(on_device, scale, chosen.train, None, number))
    yield "device", source, seconds
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "photos.bin"
        prepared.save(file, chosen, data, scale)

        def from_file() -> FeedFactory:
            decoded, listed = prepared.load(file, scale)
            return feed_factory(on_device, scale, listed.train, decoded, number)

        seconds, source = timed(from_file)
        yield "device, prepared", source, seconds
    if importlib.util.find_spec("tensorflow"):
        on_host = dataclasses.replace(data, backend="tfdata")
        seconds, source = timed(lambda: feed_factory(on_host, scale, chosen.train, None, number))
        yield "tfdata", source, seconds


def time_rounds(loops: dict[str, Loop], calls: int, number: int) -> dict[str, np.ndarray]:
    """Returns (rounds, 2) seconds per step and seconds of waiting, by the feed's name."""
    for loop in loops.values():
        loop.run(3)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
    for _ in range(number):
        for name, loop in loops.items():
            times[name].append(loop.run(calls))
    return {name: np.array(rows) for name, rows in times.items()}


def quartiles(values: Any) -> list[float]:
    """Returns the lower quartile, the median and the upper quartile."""
    return np.percentile(values, [25, 50, 75]).tolist()


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
    add("--seconds", type=float, default=2.0, help="approximate length of a round of one feed")
    arguments = parser.parse_args()
    console.setup()
    devices.configure(training=True)
    data = DataConfig(source=arguments.source)
    number = devices.count(0, (arguments.batch,))
    chosen = sources.gather(data, SCALE, max(arguments.lr_patch) * SCALE)
    factories = {}
    print("| feed | seconds to start |\n|---|---|")
    for name, source, seconds in pipelines(data, SCALE, chosen, number):
        print(f"| {name} | {seconds:.2f} |")
        factories[name] = source
    del factories["device, prepared"]
    size = buffers.size(chosen.train, SCALE)
    print(
        f"\n{devices.describe(number)}; photos take {size / 2**20:.0f} MB, one copy per device\n"
        "\n| LR patch | steps per call | feed | patches per second alone | ms per step | of fixed"
        " | waiting for data |\n|---|---|---|---|---|---|---|"
    )
    for lr_patch in arguments.lr_patch:
        phase = student_phase(lr_patch, arguments.batch, number)
        feeds = {"fixed": fixed_feed(phase)}
        feeds |= {name: source(SEED, phase.config.batches) for name, source in factories.items()}
        speed = {
            name: f"{patches_per_second(feeds[name], phase, arguments.seconds):,.0f}"
            for name in factories
        }
        for per_call in arguments.steps_per_call:
            with contextlib.ExitStack() as stack:
                loops = {}
                for name, feed in feeds.items():
                    if feed.on_device or per_call == 1:
                        loops[name] = Loop(phase, feed, per_call)
                        stack.callback(loops[name].stream.close)
                pace, _ = loops["fixed"].run(3)
                calls = max(2, round(arguments.seconds / pace / per_call))
                times = time_rounds(loops, calls, arguments.rounds)
            for name, rows in times.items():
                ratio = np.median(rows[:, 0] / times["fixed"][:, 0])
                # Cutting on the device is part of the step: what exceeds the fixed batch's time.
                waiting = (
                    1 - 1 / ratio if feeds[name].on_device else np.median(rows[:, 1] / rows[:, 0])
                )
                print(
                    f"| {lr_patch} | {per_call} | {name} | {speed.get(name, '-')}"
                    f" | {1e3 * np.median(rows[:, 0]):.3g} | {ratio:.3f} | {max(waiting, 0):.1%} |",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
