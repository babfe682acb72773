"""Which weights suit output distillation and hints? Optuna looks for them, on held-out photos.

    DATA=data python -m launch.ablate --sweep=configs/sweeps/search.py --workdir=runs/search

The student of configs/phases.py:hints, 1,500 updates in each of 20 trials with two seeds. DATA is a
folder as in docs/reproduce.md.
"""

import os

from launch.ablation.sweep import Sweep

LOSSES = "train.distill.losses"


def get_sweep() -> Sweep:
    """Returns the sweep."""
    return Sweep(
        base="configs/phases.py:hints",
        common={
            "data.source": f"hr:{os.environ.get('DATA', 'data')}/train",
            "train.distill.steps": 1500,
        },
        shared=("teacher",),
        prepare=True,
        variants={"control": {f"{LOSSES}.distill.weight": 0.0, f"{LOSSES}.hints.weight": 0.0}},
        search={f"{LOSSES}.distill.weight": (0.05, 5.0), f"{LOSSES}.hints.weight": (1e-4, 0.1)},
        trials=20,
        seeds=(0, 1),
        metrics=("psnr_y", "ssim_y"),
    )
