"""A refined student for clean photos: `student_x4`, refined on HR, without a mesh.

    python -m kdgan_jax.main --config=configs/clean_gan.py --workdir=runs/clean_gan \\
        --config.data.source=PHOTOS

Takes minutes on 2 CPU cores. The variant `smoke` runs in seconds, for tests.
"""

from kdgan_jax.config import check_variant, default, network, polish


def get_config(variant: str = ""):
    """Returns the config; `variant` is "" or "smoke"."""
    check_variant(variant, ("smoke",))
    smoke = variant == "smoke"
    tiny = {"steps": 2, "batch": 2, "hr_patch": 32, "warmup_steps": 0}
    size = tiny if smoke else {"steps": 600, "level": 10.0}
    config = default(
        networks={"student": network("compact:channels=32,depth=4")},
        phases={"refine": polish("student_x4", "hr", **size)},
    )
    config.data.source = "embedded" if smoke else ""
    config.data.holdout = 16
    config.holdout_metrics = ("psnr_y", "ssim_y", "lpips_alex", "mesh")
    config.evaluate_every = config.checkpoint_every = 300
    return config
