"""What training is for: a network beats bicubic, and a distilled one resembles its teacher."""

import numpy as np
import pytest

import kdgan_jax
from kdgan_jax import config
from kdgan_jax.config import loss, network, phase, teacher
from kdgan_jax.data import embedded, photos, sources
from kdgan_jax.evaluation.metrics import psnr_y
from kdgan_jax.pictures import bicubic
from kdgan_jax.train.run import run

SCALE = 4
TEACHER = "clean_gan_x4"  # its sharpened images are not those that L1 to HR leads to


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run of two phases that differ in their target alone: HR, or the teacher's image."""
    short = {"steps": 150, "batch": 8, "hr_patch": 48, "learning_rate": 3e-3}
    phases = {
        "alone": phase(losses={"pixel": loss("l1", 1.0)}, **short),
        "distilled": phase(
            losses={"distill": loss("l1", 1.0, target="teacher")},
            teachers={"teacher": teacher(TEACHER)},
            **short,
        ),
    }
    settings = config.default({"student": network("compact:channels=16,depth=2")}, phases)
    path = tmp_path_factory.mktemp("learning")
    run(settings, path)
    return path


def test_a_short_training_beats_bicubic_and_distillation_approaches_the_teacher(workdir):
    names = {"alone": f"{workdir}:alone", "distilled": f"{workdir}:distilled", "teacher": TEACHER}
    models = {name: kdgan_jax.load(path) for name, path in names.items()}
    gains, nearer = [], []
    for photo in sources.installed(embedded.HOLDOUT, SCALE):
        hr, lr = photos.load_pair(photo, SCALE)
        hr, lr = hr[: 64 * SCALE, : 64 * SCALE], lr[:64, :64]
        sr = {name: model.upscale(lr) for name, model in models.items()}
        gains.append(psnr_y(sr["alone"], hr, SCALE) - psnr_y(bicubic.upscale(lr, SCALE), hr, SCALE))
        to_teacher = {n: psnr_y(sr[n], sr["teacher"], SCALE) for n in ("alone", "distilled")}
        nearer.append(to_teacher["distilled"] - to_teacher["alone"])
    assert np.mean(gains) > 0.1  # dB
    assert min(nearer) > 0.1  # dB, on each photo
