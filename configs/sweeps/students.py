"""How to train a small network for clean photos: short trials of equal length, two paired seeds.

    DATA=data python -m launch.ablate --sweep=configs/sweeps/students.py --workdir=runs/students

DATA is a folder as in docs/reproduce.md. Models are compared on photos that are held out from the
training folder; no benchmark image has a part in it. Some two hours of 2 CPU cores.
"""

import os

from launch.ablation.sweep import Sweep

DATA = os.environ.get("DATA", "data")
STUDENT = "train.student"


def net(**options: object) -> dict[str, object]:
    """Returns the override of another network."""
    options = {"channels": 32, "depth": 4, **options}
    text = ",".join(f"{name}={value}" for name, value in options.items())
    return {"student.network": f"compact:{text}"}


def get_sweep() -> Sweep:
    """Returns the sweep."""
    return Sweep(
        base="configs/students.py:trial",
        common={
            "data.source": f"hr:{DATA}/train",
            "data.holdout": 40,
            "phases": ("student",),
        },
        variants={
            "control": {},
            "branches": net(branches=True),
            "expansion": net(expansion=4),
            "deep": net(channels=24, depth=8),
            "deeper": net(channels=20, depth=11),
            "both": net(branches=True, expansion=4),
            "branches-deep": net(channels=24, depth=8, branches=True),
            "branches-deeper": net(channels=20, depth=11, branches=True),
            "wide": net(channels=36, depth=3),
            "patch-48": {f"{STUDENT}.lr_patch": 48, f"{STUDENT}.batch": 4},
            "rate-1e-3": {f"{STUDENT}.learning_rate": 1e-3},
            "rate-4e-3": {f"{STUDENT}.learning_rate": 4e-3},
            "recolour": {"data.recolour": True, "data.copies": 4},
            "images": {"data.sampling": "images"},
            "squared-late": {
                "phases": ("student", "late"),
                f"{STUDENT}.steps": 5400,
                "train.late.losses.pixel.kind": "l2",
                "train.late.lr_patch": 24,
                "train.late.steps": 600,
            },
            "restart": {
                "phases": ("student", "late"),
                f"{STUDENT}.steps": 3000,
                "train.late.learning_rate": 1e-3,
                "train.late.lr_patch": 24,
                "train.late.steps": 3000,
            },
        },
        seeds=(0, 1),
        prepare=True,
        metrics=("psnr_y", "ssim_y"),
    )
