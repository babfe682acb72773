"""KD-GAN: distils a teacher into a small student, where a teacher is the only source of targets.

    python -m kdgan_jax.main --config=configs/kd.py --workdir=runs/kd

The default distils `realesr-general-x4v3`, which comes with the package, on degraded photos without
reading their HR images, refines the student on the teacher's images, and trains the same student on
HR for comparison. `--config.refine=False` leaves out the refinement. Variants, after a colon:
    (none)     for a laptop: minutes on 2 CPU cores, photos from installed packages
    smoke      the same in seconds, for tests; its figures mean nothing
    scratch    trains a teacher, distils it into a student, and refines the student adversarially,
               on clean photos; minutes on 2 CPU cores. "scratch,smoke" takes seconds
    full       the same as published, for GPUs and a folder of photos
               (--config.data.source=DIV2K/HR): EDSR-baseline (Lim et al. 2017) as teacher; ESRGAN's
               losses and schedule (Wang et al. 2018) in the adversarial phase, with VGG16 conv5_3
               instead of VGG19 conv5_4, since no package provides weights of VGG19
    full_real  distils `realesr-general-x4v3`, half on it and half on HR, for GPUs and a folder of
               photos: samples are degraded on the fly, with the numbers of Real-ESRNet and
               Real-ESRGAN (Wang et al. 2021). What the package lacks is replaced: VGG19's layers
               by those of VGG16 at the same depths, and the U-Net discriminator by SRGAN's, with
               spectral norm and ESRGAN's 100 hidden units. HR is not sharpened
"""

from kdgan_jax.config import (
    check_variant,
    default,
    discriminator,
    distill,
    imitate,
    loss,
    network,
    phase,
    polish,
    refine,
    set_up_long_run,
    teach,
    teach_edsr_baseline,
)


def get_config(variant: str = ""):
    """Returns the config; `variant` is one of those above."""
    variants = {
        "": laptop,
        "smoke": smoke,
        "scratch": scratch,
        "scratch,smoke": scratch_smoke,
        "full": full,
        "full_real": full_real,
    }
    check_variant(variant, tuple(variants))
    return variants[variant]()


def laptop():
    """Runs in minutes on 2 cores."""
    size = {"steps": 2500, "learning_rate": 2e-3}
    config = without_hr("compact:channels=32,depth=4", size, {"steps": 200})
    config.data.copies, config.data.holdout_copies, config.data.crop = 24, 8, 96
    return config


def smoke():
    """Runs in seconds: a tiny student, a few steps of every phase."""
    size = {"steps": 4, "batch": 4, "hr_patch": 32}
    config = without_hr("compact:channels=8,depth=1", size, size | {"warmup_steps": 0})
    config.data.crop = 16
    config.log_every = config.checkpoint_every = 2
    return config


def without_hr(student: str, size, refining):
    """Returns a config that trains `student` on a teacher, and for comparison on HR.

    Args:
      student: the network.
      size: fields of the phases that train on HR and on the teacher.
      refining: fields of the phase that refines what has been trained on the teacher.
    """
    config = default(
        networks={
            "teacher": network("", "realesr-general-x4v3"),
            "control": network(student),
            "student": network(student),
        },
        phases={
            "control": phase("control", losses={"pixel": loss("l1", 1.0)}, **size),
            "distill": imitate(**size),
            "refine": polish(**refining),
        },
    )
    config.data.degradation = "light,strong"
    return config


def scratch():
    """Runs in minutes on 2 cores."""
    config = default(
        phases={
            "teacher": teach(steps=1500, learning_rate=1e-3),
            "distill": distill(steps=3000, learning_rate=2e-3),
            "adversarial": refine(
                steps=300,
                batch=8,
                hr_patch=64,
                learning_rate=2e-4,
                schedule="constant",
                level=10.0,
                discriminator=discriminator(learning_rate=2e-4, warmup_steps=20),
                losses={
                    "pixel": loss("l1", 1e-1),
                    "distill": loss("l1", 1e-1, target="teacher"),
                    "perceptual": loss("perceptual:layers=(conv2_2,conv3_3)", 1e-1),
                    "pattern": loss("pattern:window=32", 0.3),
                    "adversarial": loss("relativistic", 5e-3),
                },
            ),
        },
    )
    config.evaluate_every = 100
    config.checkpoint_every = 300
    return config


def scratch_smoke():
    """Runs in seconds: tiny networks, a few steps of every phase."""
    small = {"steps": 4, "batch": 4, "hr_patch": 32}
    config = default(
        networks={
            "teacher": network("compact:channels=8,depth=2"),
            "student": network("compact:channels=8,depth=1"),
        },
        phases={
            "teacher": teach(**small),
            "distill": distill(**small),
            "adversarial": refine(
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
    """Runs for days on GPUs."""
    config = default(
        networks={
            "teacher": network("edsr:channels=64,blocks=16"),
            "student": network("compact:channels=64,depth=16"),
        },
        phases={
            "teacher": teach_edsr_baseline(),
            "distill": distill(
                steps=500_000, batch=64, hr_patch=256, learning_rate=1e-3, final_fraction=1e-3
            ),
            "adversarial": refine(
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
    set_up_long_run(config)
    return config


def full_real():
    """Runs for days on GPUs, with many CPU cores beside them."""
    size = {"batch": 48, "hr_patch": 256, "schedule": "constant"}
    config = default(
        networks={
            "teacher": network("", "realesr-general-x4v3"),
            "student": network("compact:channels=64,depth=16"),
        },
        phases={
            "distill": distill(steps=1_000_000, learning_rate=2e-4, **size),
            "adversarial": refine(
                steps=400_000,
                learning_rate=1e-4,
                discriminator=discriminator(
                    "vgg:hidden=100,spectral_norm=True", learning_rate=1e-4
                ),
                losses={
                    "pixel": loss("l1", 0.5),
                    "distill": loss("l1", 0.5, target="teacher"),
                    # A loss is the mean over its layers, whose weights are 0.1 and 1 each.
                    "shallow": loss("perceptual:layers=(conv1_2,conv2_2)", 0.2),
                    "deep": loss("perceptual:layers=(conv3_3,conv4_3,conv5_3)", 3.0),
                    "adversarial": loss("bce", 1e-1),
                },
                **size,
            ),
        },
    )
    set_up_long_run(config)
    config.data.degradation, config.data.copies = "strong", 0
    return config
