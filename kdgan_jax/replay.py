"""Makes a step again that was not finite, and says where.

python -m kdgan_jax.replay runs/kd/debug/adversarial/1200
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

from kdgan_jax.data import batches
from kdgan_jax.inference.load import load
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime import console, devices, files
from kdgan_jax.runtime.errors import UserError, leave
from kdgan_jax.train import checks, inputs, state, steps
from kdgan_jax.train import phase as phases
from kdgan_jax.workdir import checkpoint


def replay(place: Path) -> tuple[dict[str, float], list[str]]:
    """Returns (losses, what of losses, weights and gradients is not finite).

    Args:
      place: what a run left: `WORKDIR/debug/PHASE/STEP`, with STEP.npz beside it.

    Raises:
      UserError: something of it is missing or damaged.
    """
    place = place.resolve()
    if len(place.parents) < 3:
        raise UserError(f"{place}: is not of the form WORKDIR/debug/PHASE/STEP")
    workdir, name = place.parents[2], place.parent.name
    batch_file = place.with_name(f"{place.name}.npz")
    try:
        run = checks.checked(ml_collections.ConfigDict(files.read_json(workdir / "config.json")))
        own = next(phase for phase in run.phases if phase.name == name)
        with np.load(batch_file) as file:
            batch = batches.from_arrays(dict(file))
        spec = checkpoint.meta(place)["model"]
    except (AttributeError, LookupError, OSError, StopIteration, ValueError) as error:
        raise UserError(f"{place}: is nothing that a run has left to see again ({error})") from None
    given = inputs.given(run, workdir)
    made = inputs.make_phase(
        own, run, workdir, given, 1, lambda name, fold: load(workdir, name, fold=fold)
    )
    model = Model(spec["name"], spec["kwargs"], spec["scale"], None)
    phase = dataclasses.replace(made, model=model)
    fresh = phases.initial(phase)
    current = state.from_items(checkpoint.load(place, state.to_items(devices.to_host(fresh))))
    gradients = steps.make_gradients(phases.networks(phase), phases.losses_of(phase))
    grads, _, parts, _ = devices.to_host(jax.jit(gradients)(current, phases.frozen(phase), batch))
    broken = [f"loss {label}" for label, value in parts.items() if not np.isfinite(value)]
    for player, trained in current.networks.items():
        broken += _broken(f"{player}'s weights", trained.params)
        broken += _broken(f"{player}'s gradient", grads[player])
    return {label: float(value) for label, value in parts.items()}, broken


def _broken(what: str, tree: Any) -> list[str]:
    lines = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        bad = np.count_nonzero(~np.isfinite(leaf))
        if bad:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            lines.append(f"{what} {name}: {bad} of {leaf.size} numbers")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Prints what the step gives."""
    parser = argparse.ArgumentParser(prog="kdgan replay", description=__doc__)
    parser.add_argument("place", type=Path, help="WORKDIR/debug/PHASE/STEP, as a run has left it")
    arguments = parser.parse_args(argv)
    console.setup()
    devices.configure(training=True)
    try:
        parts, broken = replay(arguments.place)
    except UserError as error:
        leave(error)
    for name, value in parts.items():
        print(f"{name}: {value:.6g}")
    print(
        "\n".join(["not finite:", *broken])
        if broken
        else "all losses, weights and gradients are finite"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
