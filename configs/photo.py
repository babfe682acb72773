"""The shipped student `photo_x4`: `photo_soft_x4`, refined on its teacher's images, without HR.

    python -m kdgan_jax.main --config=configs/photo.py --workdir=runs/photo \\
        --config.data.source=hr:PHOTOS,lr:PHOTOS

An adversarial phase whose real images are the teacher's (Yim et al.'s loop, as the origin runs it):
its output, its fine detail (the high bands of Haar's transform) and its VGG features are the
targets. A term on the pattern of the pixel shuffle keeps out the mesh that such phases leave. Takes
half an hour on 2 CPU cores, after labels of a quarter of an hour. Variants, after a colon:
    (none)  the teacher's images as real images and targets
    hr      the control: the same with HR as real images and targets, which needs photos with HR
    smoke   runs in seconds, for tests
"""

from kdgan_jax.config import check_variant, default, network, polish


def get_config(variant: str = ""):
    """Returns the config; `variant` is "", "hr" or "smoke"."""
    check_variant(variant, ("hr", "smoke"))
    smoke, target = variant == "smoke", "hr" if variant == "hr" else "teacher"
    tiny = {"steps": 2, "batch": 2, "hr_patch": 32, "warmup_steps": 0}
    size = tiny if smoke else {"steps": 1500, "warmup_steps": 100}
    config = default(
        networks={
            "teacher": network("", "realesr-general-x4v3"),
            "student": network("compact:channels=32,depth=8"),
        },
        phases={"refine": polish("photo_soft_x4", target, **size)},
    )
    config.data.source = "embedded" if smoke else ""
    config.data.holdout = 16
    config.data.degradation = "light,strong,noisy,none"
    config.data.copies = 1 if smoke else 4
    config.data.recolour = True
    config.data.crop = 16 if smoke else 128
    config.holdout_metrics = ("psnr_y", "ssim_y", "lpips_alex", "mesh")
    config.log_every = 100
    config.evaluate_every = config.checkpoint_every = 500
    return config
