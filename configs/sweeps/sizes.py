"""How deep, and how fast to train, is a network for clean photos of 100,000 parameters?

    DATA=data python -m launch.ablate --sweep=configs/sweeps/sizes.py --workdir=runs/sizes

Short trials of equal length with two paired seeds, on the photos of `configs/sweeps/students.py`.
An hour of one CPU core.
"""

from configs.sweeps import students
from launch.ablation.sweep import Sweep


def get_sweep() -> Sweep:
    """Returns the sweep."""
    folds = {"branches": True, "expansion": 4}
    return Sweep(
        base="configs/students.py:trial",
        common={
            "data.source": f"hr:{students.PHOTOS}",
            "phases": ("student",),
            f"{students.STUDENT}.warmup_steps": 1000,
            f"{students.STUDENT}.clip_norm": 0.1,
            **students.net(depth=9, **folds),
        },
        variants={
            "control": {},
            "branches": students.net(depth=9, branches=True),
            "rate-4e-3": {f"{students.STUDENT}.learning_rate": 4e-3},
            "rate-1e-3": {f"{students.STUDENT}.learning_rate": 1e-3},
            "deep": students.net(channels=24, depth=16, **folds),
            "wide": students.net(channels=40, depth=5, **folds),
        },
        seeds=(0, 1),
        prepare=True,
        sets=students.SETS,
        metrics=("psnr_y", "ssim_y"),
    )
