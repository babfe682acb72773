"""Traces every phase of the configs at its real size: shapes must fit; nothing is computed."""

import dataclasses
import importlib.util

import jax
import jax.numpy as jnp
import pytest
from conftest import ROOT

from kdgan_jax import models
from kdgan_jax.data.batches import Batch
from kdgan_jax.train import checks, inputs, phase_setup, steps


def get_config(recipe):
    name, _, variant = recipe.partition(":")
    spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config(variant)
    config.data.source = config.data.source or "photos"
    return checks.checked(config)


@pytest.mark.parametrize(
    "recipe",
    [
        *("kd", "kd:full", "teacher:srcnn", "seed", "phases:hints", "photo", "clean_gan"),
        *(f"phases:{name}" for name in ("attention", "affinity", "contrastive", "study")),
    ],
)
def test_every_phase_can_be_traced(recipe, tmp_path):
    run = get_config(recipe)
    untrained, given = {}, inputs.external_models(run, tmp_path)
    for phase in run.phases:
        setup = inputs.set_up_phase(
            phase, run, tmp_path, given, 1, lambda name, fold: untrained[name]
        )
        untrained[phase.name] = setup.model.with_params(None)

        def update(setup=setup):
            teachers = {
                name: model.with_params(models.init(model.module, setup.key, 16)["params"])
                for name, model in setup.teachers.items()
            }
            setup = dataclasses.replace(setup, teachers=teachers)
            step = steps.make_step(
                phase_setup.networks(setup),
                phase_setup.optimizers(setup),
                phase_setup.losses_of(setup),
            )
            batches = setup.config.batches
            number, sides = batches.batch, (batches.hr_patch // run.scale, batches.hr_patch)
            lr, hr = (jnp.zeros((number, side, side, 3), jnp.uint8) for side in sides)
            images = dict.fromkeys(("hr", *setup.config.stored), hr)
            batch = Batch(lr, images, {}, jnp.arange(number, dtype=jnp.uint32))
            before = phase_setup.initial_state(setup)
            return before, *step(before, phase_setup.frozen_weights(setup), batch)

        before, after, metrics = jax.eval_shape(update)
        assert jax.tree.map(jnp.shape, before) == jax.tree.map(jnp.shape, after)
        assert "total" in metrics
