"""What methods of distillation cost: a step's time, operations and memory against output's.

    python -m launch.benchmarks.methods [--methods hints affinity] [--rounds=15]

Prints a table. The methods are variants of configs/phases.py, at their sizes: a student of 51,920
parameters, LR patches of 24x24 in batches of 16, and teachers (with fresh weights) that run in
every step. Steps are timed in rounds in one process, one method after the other, with a batch that
stays on the devices. Times are medians over rounds; ratios compare times of the same round and come
with their quartiles. Operations and memory (beside the inputs) are what XLA says of the step of the
whole batch, on one device.
"""

import argparse
import dataclasses
import runpy
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kdgan_jax import models
from kdgan_jax.data.batches import Batch
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime import console, devices
from kdgan_jax.train import checks, inputs, steps
from kdgan_jax.train.phase_setup import (
    PhaseSetup,
    frozen_weights,
    initial_state,
    losses_of,
    networks,
    optimizers,
)
from launch.benchmarks.data import Loop, fixed_feed, quartiles, time_rounds

RECIPES = "configs/phases.py"
OUTPUT = "output"
# Variants of RECIPES, and what is changed in the losses of their last phase, by title.
METHODS: dict[str, tuple[str, dict[str, float | str]]] = {
    "control": ("control", {}),
    OUTPUT: ("hints", {"hints.weight": 0.0}),
    "fitnet": ("hints", {}),
    "attention": ("attention", {}),
    "affinity": ("affinity", {}),
    "affinity, pool=2": ("affinity", {"affinity.kind": "{kind},pool=2"}),
    "contrastive": ("contrastive", {}),
    "wavelet": ("wavelet", {}),
    "consistency": ("consistency", {}),
    "zoom_in": ("zoom_in", {}),
    "several": ("several", {}),
    "own_average": ("own_average", {}),
    "regularized": ("regularized", {}),
}


def described(title: str, size: str, number: int) -> PhaseSetup:
    """Returns the last phase of a method's recipe, with teachers of fresh weights.

    Args:
      title: key of `METHODS`.
      size: "" or "smoke".
      number: of devices.
    """
    variant, changes = METHODS[title]
    config = runpy.run_path(RECIPES)["get_config"](f"{variant},{size}" if size else variant)
    description = config.train[config.phases[-1]].losses
    for field, value in changes.items():
        label, _, name = field.partition(".")
        before = description[label][name]
        description[label][name] = value.format(kind=before) if isinstance(value, str) else value
    run = checks.checked(config)
    fresh: dict[str, Model] = {}
    for phase in run.phases:
        setup = inputs.set_up_phase(phase, run, Path(), {}, number, lambda name, _: fresh[name])
        params = models.init(setup.model.module, setup.key, 16)["params"]
        fresh[phase.name] = setup.model.with_params(params)
    return dataclasses.replace(setup, model=setup.model.with_params(None))


class Needs(NamedTuple):
    """What a compiled step needs.

    Attributes:
      operations: additions, multiplications and the like, in units of 1e9.
      megabytes: of memory, beside inputs and results.
    """

    operations: float
    megabytes: float


def needs(setup: PhaseSetup) -> Needs:
    """Returns what a step of the whole batch needs on one device."""
    step = steps.make_step(networks(setup), optimizers(setup), losses_of(setup))
    batches = setup.config.batches
    sides = batches.hr_patch // setup.model.scale, batches.hr_patch
    lr, hr = (jnp.zeros((batches.batch, side, side, 3), jnp.uint8) for side in sides)
    batch = Batch(lr, {"hr": hr}, {}, jnp.arange(batches.batch, dtype=jnp.uint32))
    compiled = jax.jit(step).lower(initial_state(setup), frozen_weights(setup), batch).compile()
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    assert memory is not None
    assert cost is not None
    return Needs(cost["flops"] / 1e9, memory.temp_size_in_bytes / 2**20)


def loop_of(setup: PhaseSetup) -> Loop:
    """Returns the loop of a phase on one batch."""
    loop = Loop(setup, fixed_feed(setup), 1)
    loop.frozen |= devices.replicate(frozen_weights(setup), setup.devices)
    return loop


def rows(times: dict[str, np.ndarray], needed: dict[str, Needs]) -> list[str]:
    """Returns the rows of the table.

    Args:
      times: (rounds, 2) by title, of which the first column is seconds per step.
      needed: by title.
    """
    lines = []
    for title, of_method in times.items():
        seconds = of_method[:, 0]
        low, middle, high = quartiles(seconds / times[OUTPUT][:, 0])
        lines.append(
            f"| {title} | {1e3 * np.median(seconds):.3g} | {middle:.2f} ({low:.2f} to {high:.2f})"
            f" | {needed[title].operations:.3g} | {needed[title].megabytes:.0f} |"
        )
    return lines


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        prog="python -m launch.benchmarks.methods", description=__doc__.split("\n\n")[0]
    )
    add = parser.add_argument
    add("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    add("--rounds", type=int, default=9)
    add("--seconds", type=float, default=1.0, help="approximate length of a round of one method")
    add("--size", choices=("", "smoke"), default="", help="of networks and patches")
    arguments = parser.parse_args()
    console.setup()
    devices.configure(training=True)
    titles = dict.fromkeys((OUTPUT, *arguments.methods))
    batch = described(OUTPUT, arguments.size, 1).config.batches.batch
    number = devices.count(0, (batch,))
    setups = {title: described(title, arguments.size, number) for title in titles}
    needed = {title: needs(setup) for title, setup in setups.items()}
    loops = {title: loop_of(setup) for title, setup in setups.items()}
    pace, _ = loops[OUTPUT].run(3)
    times = time_rounds(loops, max(1, round(arguments.seconds / pace)), arguments.rounds)
    print(
        f"{devices.describe(number)}\n"
        "\n| method | ms per step | of output | 1e9 operations | MB |\n|---|---|---|---|---|",
        *rows(times, needed),
        sep="\n",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
