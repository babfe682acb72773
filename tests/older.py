"""Runs as versions before 0.2 left them."""

import jax
import numpy as np

from kdgan_jax import models
from kdgan_jax.runtime import files
from kdgan_jax.workdir import checkpoint

VERSION = "0.1.9"
NETWORKS = {"teacher": {"channels": 8, "depth": 2}, "student": {"channels": 8, "depth": 1}}
PHASES = "teacher", "distill", "adversarial"


def run(workdir, key):
    """Writes a run to `workdir`; returns the networks' weights by phase, "params" and "ema"."""
    weights = {}
    for i, phase in enumerate(PHASES):
        kwargs = NETWORKS["student" if i else "teacher"]
        module = models.generator("compact", kwargs, 4)
        params, ema = (
            jax.tree.map(np.asarray, models.init(module, init_key, 8)["params"])
            for init_key in jax.random.split(jax.random.fold_in(key, i))
        )
        weights[phase] = {"params": params, "ema": ema}
        items = weights[phase] | {
            "optimizer": [np.zeros(3, np.float32)],
            "discriminator": {"params": params, "optimizer": [np.zeros(3)]} if i == 2 else {},
            "loop": {"step": np.array(4), "key": np.array([1, 2], np.uint32)},
        }
        meta = {"model": {"name": "compact", "kwargs": kwargs, "scale": 4}, "phase": phase}
        meta |= {"versions": {"kdgan_jax": VERSION}}
        checkpoint.save(checkpoint.phase_folder(workdir, phase), 4, items, meta)
    config = {"seed": 0, "scale": 4, "phases": list(PHASES), "train": {"teacher": {"steps": 4}}}
    for network, kwargs in NETWORKS.items():
        config[network] = {"name": "compact", "kwargs": kwargs}
    config["teacher"]["checkpoint"] = ""
    files.write_json(workdir / "config.json", config)
    files.write_json(workdir / "run.json", {"starts": [{"versions": {"kdgan_jax": VERSION}}]})
    return weights
