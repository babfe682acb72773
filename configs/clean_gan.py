"""A refined student for clean photos: `clean_x4`, refined on HR, without a mesh.

    python -m kdgan_jax.main --config=configs/clean_gan.py --workdir=runs/clean_gan \\
        --config.data.source=PHOTOS

Takes minutes on 2 CPU cores. The variant `smoke` runs in seconds, for tests.
"""

from kdgan_jax.config import check_variant, default, discriminator, network, polish

# Of losses, where `polish` has a stronger game: with HR, slopes get stripes from it.
WEIGHTS = {"output": 0.2, "pattern": 0.3, "adversarial": 5e-3}


def get_config(variant: str = ""):
    """Returns the config; `variant` is "" or "smoke"."""
    check_variant(variant, ("smoke",))
    smoke = variant == "smoke"
    tiny = {"steps": 2, "batch": 2, "hr_patch": 32}
    size = tiny if smoke else {"steps": 600, "level": 10.0}
    config = default(
        networks={"student": network("compact:channels=32,depth=4")},
        phases={"refine": polish("clean_x4", "hr", **size)},
    )
    for label, weight in WEIGHTS.items():
        config.train.refine.losses[label].weight = weight
    config.train.refine.discriminator = discriminator("patch:spectral_norm=True")
    config.data.source = "embedded" if smoke else ""
    config.data.holdout = 16
    config.holdout_metrics = ("psnr_y", "ssim_y", "lpips_alex", "mesh")
    config.evaluate_every = config.checkpoint_every = 300
    return config
