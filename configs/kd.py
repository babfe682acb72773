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
from kdgan_jax.config import discriminator, loss, network


def get_config(variant: str = ""):
    """Returns the config; `variant` is "", "smoke" or "full"."""
    base.refuse_unknown(variant, ("smoke", "full"))
    return {"": laptop, "smoke": smoke, "full": full}[variant]()


def laptop():
    """Minutes on 2 cores."""
    config = base.default(
        phases={
            "teacher": base.teach(steps=1500, learning_rate=1e-3),
            "distill": base.distill(steps=3000, learning_rate=2e-3),
            "adversarial": base.refine(
                steps=300,
                batch=8,
                hr_patch=64,
                learning_rate=2e-4,
                schedule="constant",
                discriminator=discriminator(learning_rate=2e-4, warmup_steps=20),
                losses={
                    "pixel": loss("l1", 1e-1),
                    "distill": loss("l1", 1e-1, target="teacher"),
                    "perceptual": loss("perceptual:layers=(conv2_2,conv3_3)", 1e-1),
                    "adversarial": loss("relativistic", 5e-3),
                },
            ),
        }
    )
    config.evaluate_every = 100
    config.checkpoint_every = 300
    return config


def smoke():
    """Seconds: tiny networks, a few steps of every phase."""
    small = {"steps": 4, "batch": 4, "hr_patch": 32}
    config = base.default(
        networks={
            "teacher": network("compact:channels=8,depth=2"),
            "student": network("compact:channels=8,depth=1"),
        },
        phases={
            "teacher": base.teach(**small),
            "distill": base.distill(**small),
            "adversarial": base.refine(
                **small,
                discriminator=discriminator("origin:channels=(8,16),hidden=16", warmup_steps=1),
                losses={
                    "pixel": loss("l1", 1e-2),
                    "distill": loss("l1", 1e-2, target="teacher"),
                    "perceptual": loss("perceptual:layers=(conv1_2,)", 1.0),
                    "adversarial": loss("relativistic", 5e-3),
                },
            ),
        },
    )
    config.log_every = 2
    config.evaluate_every = 4
    config.checkpoint_every = 2
    return config


def full():
    """Days on GPUs."""
    config = base.default(
        networks={
            "teacher": network("edsr:channels=64,blocks=16"),
            "student": network("compact:channels=64,depth=16"),
        },
        phases={
            "teacher": base.teach_edsr_baseline(),
            "distill": base.distill(
                steps=500_000, batch=64, hr_patch=256, learning_rate=1e-3, final_fraction=1e-3
            ),
            "adversarial": base.refine(
                steps=400_000,
                hr_patch=128,
                learning_rate=1e-4,
                schedule="halving",
                milestones=(1 / 8, 1 / 4, 1 / 2, 3 / 4),
                discriminator=discriminator("vgg", learning_rate=1e-4),
                losses={
                    "pixel": loss("l1", 1e-2),
                    "distill": loss("l1", 1e-2, target="teacher"),
                    "perceptual": loss("perceptual:layers=(conv5_3,)", 1.0),
                    "adversarial": loss("relativistic", 5e-3),
                },
            ),
        },
    )
    base.on_given_photos(config)
    return config
