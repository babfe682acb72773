"""A teacher alone: minimise L1 to the truth.

    python -m kdgan_jax.main --config=configs/teacher.py --workdir=runs/teacher

`--config.teacher.checkpoint=runs/teacher` makes other runs load it. Variants, after a colon:
    (none)  the teacher of configs/kd.py
    srcnn   SRCNN 9-5-5 (Dong et al. 2016) on Y, as a residual: the paper trains the image itself
            for 8e8 patches, which minutes cannot
    smoke   seconds; for tests
    full    EDSR-baseline (Lim et al. 2017) on a folder of photos (--config.data.source=DIV2K/HR)
"""

from kdgan_jax import config as base
from kdgan_jax.config import phase


def get_config(variant: str = ""):
    """Returns the config; `variant` is "", "srcnn", "smoke" or "full"."""
    base.refuse_unknown(variant, ("srcnn", "smoke", "full"))
    config = base.default()
    config.phases = ("teacher",)
    config.train.teacher = phase(steps=1500, hr_patch=96, learning_rate=1e-3)
    if variant == "srcnn":
        config.teacher.name = "srcnn"
        config.teacher.kwargs = {"residual": True}
        config.train.teacher = phase(steps=5000, hr_patch=48, learning_rate=1e-3)
    elif variant == "smoke":
        config.teacher.kwargs = {"features": 8, "depth": 2}
        config.train.teacher = phase(steps=4, batch=4, hr_patch=32)
        config.checkpoint_every = config.log_every = 2
    elif variant == "full":
        base.edsr_baseline(config)
        config.evaluate_every = config.checkpoint_every = 5000
    return config
