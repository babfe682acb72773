"""Every phase of every config is traced at its real sizes: shapes fit, nothing is computed."""

import dataclasses
import importlib.util

import jax
import jax.numpy as jnp
import pytest
from conftest import ROOT

from kdgan_jax import models
from kdgan_jax.data.batches import Batch
from kdgan_jax.train import checks, inputs, steps
from kdgan_jax.train import phase as phases


def get_config(recipe):
    name, _, variant = recipe.partition(":")
    spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config(variant)
    config.data.source = config.data.source or "photos"
    return checks.checked(config)


@pytest.mark.parametrize(
    "recipe", ["kd", "kd:full", "teacher:srcnn", "teacher:full", "seed", "phases:hints"]
)
def test_every_phase_can_be_traced(recipe, tmp_path):
    run = get_config(recipe)
    untrained = {}
    for own in run.phases:
        phase = inputs.make_phase(own, run, tmp_path, {}, 1, lambda name, fold: untrained[name])
        untrained[own.name] = phase.model.with_params(None)

        def update(phase=phase):
            batches = phase.config.batches
            teachers = {
                name: model.with_params(models.init(model.module, phase.key, 16)["params"])
                for name, model in phase.teachers.items()
            }
            phase = dataclasses.replace(phase, teachers=teachers)
            step = steps.make_step(
                phases.networks(phase), phases.optimizers(phase), phases.losses_of(phase)
            )
            number, sides = batches.batch, (batches.hr_patch // run.scale, batches.hr_patch)
            lr, hr = (jnp.zeros((number, side, side, 3), jnp.uint8) for side in sides)
            batch = Batch(lr, {"hr": hr}, {}, jnp.arange(number, dtype=jnp.uint32))
            before = phases.initial(phase)
            return before, *step(before, phases.frozen(phase), batch)

        before, after, metrics = jax.eval_shape(update)
        assert jax.tree.map(jnp.shape, before) == jax.tree.map(jnp.shape, after)
        assert "total" in metrics
