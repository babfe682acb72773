"""Every phase of every config is traced at its real sizes: shapes fit, nothing is computed."""

import dataclasses
import importlib.util

import jax
import jax.numpy as jnp
import pytest
from conftest import ROOT

from kdgan_jax.train import phase as phases
from kdgan_jax.train import steps
from kdgan_jax.zoo.model import Model


def get_config(recipe):
    name, _, variant = recipe.partition(":")
    spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant)


@pytest.mark.parametrize(
    "recipe", ["kd", "kd:full", "teacher", "teacher:srcnn", "teacher:full", "seed"]
)
def test_every_phase_can_be_traced(recipe, tmp_path):
    config = get_config(recipe)
    teacher, student = (
        Model(spec.name, spec.kwargs.to_dict(), config.scale, None)
        for spec in (config.teacher, config.student)
    )
    for name in config.phases:
        settings = config.train[name]
        model = teacher if name == "teacher" else student
        phase = phases.Phase(name, settings, config, tmp_path, model, None, 1)
        players = phases.optimisers(phase)

        def update(phase=phase, players=players, settings=settings):
            size, low = settings.hr_patch, settings.hr_patch // config.scale
            params = phases.initial(dataclasses.replace(phase, model=teacher), players).params
            taught = dataclasses.replace(phase, teacher=teacher.with_params(params))
            step = steps.make_step(phases.networks(taught), players, settings)
            before = phases.initial(phase, players)
            batch = {
                "lr": jnp.zeros((settings.batch, low, low, 3), jnp.uint8),
                "hr": jnp.zeros((settings.batch, size, size, 3), jnp.uint8),
            }
            return before, *step(before, phases.frozen(taught), batch)

        before, after, metrics = jax.eval_shape(update)
        assert jax.tree.map(jnp.shape, before) == jax.tree.map(jnp.shape, after)
        assert "total" in metrics
