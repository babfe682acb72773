"""Makes a step again that was not finite, and says where.

python -m kdgan_jax.replay runs/kd/debug/adversarial/1200
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

from kdgan_jax import devices
from kdgan_jax.config import uses_teacher
from kdgan_jax.errors import UserError, leave
from kdgan_jax.io import checkpoint, files, logs
from kdgan_jax.train import phase as phases
from kdgan_jax.train import state, steps
from kdgan_jax.zoo.load import load
from kdgan_jax.zoo.model import Model


def replay(place: Path) -> tuple[dict[str, float], list[str]]:
    """Returns (loss parts, entries of weights, averages and gradients that are not finite).

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
        config = ml_collections.ConfigDict(files.read_json(workdir / "config.json"))
        with np.load(batch_file) as file:
            batch = dict(file)
        spec = checkpoint.meta(place)["model"]
    except (OSError, ValueError) as error:
        raise UserError(f"{place}: is nothing that a run has left to see again ({error})") from None
    phase = phases.Phase(
        name=name,
        settings=config.train[name],
        config=config,
        workdir=workdir,
        model=Model(spec["name"], spec["kwargs"], spec["scale"], None),
        teacher=load(workdir, "teacher") if uses_teacher(config.train[name]) else None,
        devices=1,
    )
    fresh = phases.initial(phase, phases.optimisers(phase))
    current = state.from_items(checkpoint.load(place, state.to_items(devices.to_host(fresh))))
    compute = jax.jit(steps.make_gradients(phases.networks(phase), phase.settings))
    ours, theirs, parts = devices.to_host(compute(current, phases.frozen(phase), batch))
    trees = {
        "weights": current.params,
        "discriminator's weights": current.discriminator,
        "gradient": ours,
        "discriminator's gradient": theirs,
    }
    broken = [line for what, tree in trees.items() for line in _broken(what, tree)]
    return {name: float(value) for name, value in parts.items()}, broken


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
    parser = argparse.ArgumentParser(prog="python -m kdgan_jax.replay", description=__doc__)
    parser.add_argument("place", type=Path, help="WORKDIR/debug/PHASE/STEP, as a run has left it")
    arguments = parser.parse_args(argv)
    logs.setup()
    devices.configure()
    try:
        parts, broken = replay(arguments.place)
    except UserError as error:
        leave(error)
    for name, value in parts.items():
        print(f"{name}: {value:.6g}")
    print("\n".join(["not finite:", *broken]) if broken else "all weights and gradients are finite")
    return 0


if __name__ == "__main__":
    sys.exit(main())
