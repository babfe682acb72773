"""Repeats a training step whose update was not finite, and says where.

python -m kdgan_jax.replay runs/kd/debug/adversarial/1200
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kdgan_jax.config import from_json
from kdgan_jax.config.settings import PhaseConfig, RunConfig
from kdgan_jax.data import batches
from kdgan_jax.data.batches import Batch
from kdgan_jax.inference import engines
from kdgan_jax.inference.load import load
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime import console, devices, files
from kdgan_jax.runtime.errors import UserError, leave
from kdgan_jax.train import checks, inputs, state, steps
from kdgan_jax.train.phase_setup import (
    PhaseSetup,
    frozen_weights,
    initial_state,
    losses_of,
    networks,
)
from kdgan_jax.workdir import checkpoint


def replay(folder: Path) -> tuple[dict[str, float], list[str]]:
    """Repeats one training step.

    Args:
      folder: a checkpoint that a run left, `WORKDIR/debug/PHASE/STEP`, with the batch beside it in
        STEP.npz.

    Returns:
      (losses by label, a line for every loss, weight or gradient that is not finite).

    Raises:
      UserError: a part of it is missing or damaged.
    """
    folder = folder.resolve()
    if len(folder.parents) < 3:
        raise UserError(f"{folder}: give a folder of the form WORKDIR/debug/PHASE/STEP")
    try:
        run, phase_config, batch, spec = _read(folder)
    except (AttributeError, LookupError, OSError, StopIteration, ValueError) as error:
        raise UserError(
            f"{folder}: does not hold a step that can be repeated ({error}); give a folder"
            " WORKDIR/debug/PHASE/STEP as a run left it"
        ) from None
    workdir = folder.parents[2]
    phase = inputs.set_up_phase(
        phase_config,
        run,
        workdir,
        inputs.external_models(run, workdir),
        1,
        lambda name, fold: load(workdir, name, fold=fold, engine=engines.JAX),
    )
    phase = dataclasses.replace(
        phase, model=Model(spec["name"], spec["kwargs"], spec["scale"], None)
    )
    current = _restored(phase, folder)
    compute = jax.jit(steps.make_gradients(networks(phase), losses_of(phase)))
    gradients, _, losses, _ = devices.to_host(compute(current, frozen_weights(phase), batch))
    not_finite = [f"loss {label}" for label, value in losses.items() if not np.isfinite(value)]
    for name, trained in current.networks.items():
        not_finite += _not_finite(f"{name}'s weights", trained.params)
        not_finite += _not_finite(f"{name}'s gradient", gradients[name])
    return {label: float(value) for label, value in losses.items()}, not_finite


def _read(folder: Path) -> tuple[RunConfig, PhaseConfig, Batch, dict[str, Any]]:
    """Returns the run, the phase of the step, its batch, and the generator's architecture."""
    config = from_json(files.read_json(folder.parents[2] / "config.json"))
    run = checks.checked(config)
    phase = next(phase for phase in run.phases if phase.name == folder.parent.name)
    with np.load(folder.with_name(f"{folder.name}.npz")) as file:
        batch = batches.from_arrays(dict(file))
    return run, phase, batch, checkpoint.meta(folder)["model"]


def _restored(phase: PhaseSetup, folder: Path) -> state.TrainState:
    template = state.to_items(devices.to_host(initial_state(phase)))
    return state.from_items(checkpoint.load(folder, template))


def _not_finite(what: str, tree: Any) -> list[str]:
    """Returns a line for every array of `tree` with numbers that are not finite."""
    lines = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        bad = np.count_nonzero(~np.isfinite(leaf))
        if bad:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            lines.append(f"{what} {name}: {bad} of {leaf.size} numbers")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the losses of the step and what is not finite."""
    parser = argparse.ArgumentParser(prog="kdgan replay", description=__doc__)
    parser.add_argument("place", type=Path, help="WORKDIR/debug/PHASE/STEP, as a run left it")
    arguments = parser.parse_args(console.arguments(argv))
    console.setup()
    devices.configure(training=True)
    try:
        losses, not_finite = replay(arguments.place)
    except UserError as error:
        leave(error)
    for label, value in losses.items():
        print(f"{label}: {value:.6g}")
    if not_finite:
        print("\n".join(["not finite:", *not_finite]))
    else:
        print("all losses, weights and gradients are finite")
    return 0


if __name__ == "__main__":
    sys.exit(main())
