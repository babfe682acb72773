"""The shipped student `clean_gan_x4`: `clean_x4`, refined on HR, with as little mesh as before.

    python -m kdgan_jax.main --config=configs/clean_gan.py --workdir=runs/clean_gan_x4 \\
        --config.data.source=PHOTOS

Takes 16 minutes of a CPU core. The variant `smoke` runs in seconds, for tests.
"""

from kdgan_jax.config import check_variant, default, discriminator, network, polish

# Of losses, where `polish` stays closer to its target and has a weaker game.
WEIGHTS = {"output": 0.05, "detail": 0.05, "adversarial": 0.15}


def get_config(variant: str = ""):
    """Returns the config; `variant` is "" or "smoke"."""
    check_variant(variant, ("smoke",))
    smoke = variant == "smoke"
    tiny = {"steps": 2, "batch": 2, "hr_patch": 32}
    size = tiny if smoke else {"steps": 3000, "level": 100.0}
    config = default(
        networks={"student": network("compact:channels=32,depth=9")},
        phases={"refine": polish("clean_x4", "hr", **size)},
    )
    for label, weight in WEIGHTS.items():
        config.train.refine.losses[label].weight = weight
    config.train.refine.discriminator = discriminator("patch:spectral_norm=True")
    config.data.source = "embedded" if smoke else ""
    config.data.holdout = 16
    config.holdout_metrics = ("psnr_y", "ssim_y", "lpips_alex", "mesh")
    config.evaluate_every = config.checkpoint_every = 500
    return config
