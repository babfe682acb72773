"""KD-GAN: train a teacher, distil it into a small student, refine that adversarially.

    python -m kdgan_jax.main --config=configs/kd.py --workdir=runs/kd

Variants, after a colon:
    (none)  sized for a laptop: minutes on 2 CPU cores, photos from installed packages
    smoke   seconds; for tests, no figures worth reading
    full    the published scale, for GPUs and a folder of photos (--config.data.source=DIV2K/HR):
            EDSR-baseline (Lim et al. 2017) as teacher; ESRGAN's losses and schedule (Wang et al.
            2018) for the adversarial phase, with VGG16 conv5_3 where ESRGAN has VGG19 conv5_4
            (weights of VGG19 are not to be had from a package).
"""

from kdgan_jax import config as base
from kdgan_jax.config import phase


def get_config(variant: str = ""):
    """Returns the config; `variant` is "", "smoke" or "full"."""
    base.refuse_unknown(variant, ("smoke", "full"))
    config = base.default()
    {"": laptop, "smoke": smoke, "full": full}[variant](config)
    return config


def laptop(config):
    """Minutes on 2 cores."""
    config.evaluate_every = 100
    config.checkpoint_every = 300
    config.train.teacher = phase(steps=1500, hr_patch=96, learning_rate=1e-3)
    config.train.distill = phase(
        steps=3000, hr_patch=96, learning_rate=2e-3, pixel_weight=0.5, distill_weight=0.5
    )
    config.train.adversarial = phase(
        steps=300,
        batch=8,
        hr_patch=64,
        learning_rate=2e-4,
        discriminator_learning_rate=2e-4,
        discriminator_warmup_steps=20,
        schedule="constant",
        pixel_weight=1e-1,
        distill_weight=1e-1,
        perceptual_layers=("conv2_2", "conv3_3"),
        perceptual_weight=1e-1,
        adversarial_weight=5e-3,
    )


def smoke(config):
    """Seconds: tiny networks, a few steps of every phase."""
    config.teacher.kwargs = {"features": 8, "depth": 2}
    config.student.kwargs = {"features": 8, "depth": 1}
    config.discriminator.kwargs = {"features": (8, 16), "hidden": 16}
    small = {"steps": 4, "batch": 4, "hr_patch": 32}
    config.train.teacher = phase(**small)
    config.train.distill = phase(**small, pixel_weight=0.5, distill_weight=0.5)
    config.train.adversarial = phase(
        **small,
        discriminator_warmup_steps=1,
        distill_weight=1e-2,
        pixel_weight=1e-2,
        perceptual_layers=("conv1_2",),
        perceptual_weight=1.0,
        adversarial_weight=5e-3,
    )
    config.log_every = 2
    config.evaluate_every = 4
    config.checkpoint_every = 2


def full(config):
    """Days on GPUs."""
    base.edsr_baseline(config)
    config.student.kwargs = {"features": 64, "depth": 16}
    config.discriminator.name = "vgg"
    config.train.distill = phase(
        steps=500_000,
        batch=64,
        hr_patch=256,
        learning_rate=1e-3,
        final_fraction=1e-3,
        pixel_weight=0.5,
        distill_weight=0.5,
    )
    config.train.adversarial = phase(
        steps=400_000,
        hr_patch=128,
        learning_rate=1e-4,
        discriminator_learning_rate=1e-4,
        schedule="halving",
        milestones=(1 / 8, 1 / 4, 1 / 2, 3 / 4),
        pixel_weight=1e-2,
        distill_weight=1e-2,
        perceptual_layers=("conv5_3",),
        perceptual_weight=1.0,
        adversarial_weight=5e-3,
    )
    config.log_every = 100
    config.evaluate_every = 5000
    config.checkpoint_every = 5000
