"""A sharper student for real photos: `photo_soft_x4`, refined on its teacher's images, without HR.

    python -m kdgan_jax.main --config=configs/photo.py --workdir=runs/photo \\
        --config.data.source=hr:PHOTOS,lr:PHOTOS

An adversarial phase whose real images are the teacher's, as in the origin's training loop: its
output, its fine detail (the high bands of Haar's transform) and its VGG features are the
targets, and a term on the pattern of the pixel shuffle keeps out the mesh that such phases leave.
Takes hours on 2 CPU cores. Variants, after a colon:
    (none)  20,000 steps
    hr      the control: the same with HR as real images and targets, which needs photos with HR
    smoke   runs in seconds, for tests
"""

from kdgan_jax.config import check_variant, default, network, polish


def get_config(variant: str = ""):
    """Returns the config; `variant` is "", "hr" or "smoke"."""
    check_variant(variant, ("hr", "smoke"))
    smoke, target = variant == "smoke", "hr" if variant == "hr" else "teacher"
    size = {"steps": 2, "batch": 2, "hr_patch": 32} if smoke else {"steps": 20_000, "hr_patch": 96}
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
    config.evaluate_every = config.checkpoint_every = 1000
    return config
