"""A sweep that runs in a minute or two; its figures mean nothing.

    python -m launch.ablate --sweep=configs/sweeps/smoke.py --workdir=runs/sweep

The student of configs/kd.py:scratch,smoke, half on HR and half on its teacher, against the same
student on HR alone. The teacher is trained once, its images are stored once, and photos are decoded
once.
"""

from launch.ablation.sweep import Sweep


def get_sweep() -> Sweep:
    """Returns the sweep: two variants with two seeds."""
    losses = "train.distill.losses"
    return Sweep(
        base="configs/kd.py:scratch,smoke",
        common={"phases": ("teacher", "distill"), "train.distill.steps": 12},
        shared=("teacher",),
        variants={
            "control": {f"{losses}.pixel.weight": 1.0, f"{losses}.distill.weight": 0.0},
            "output": {"train.distill.teachers.teacher.stored": "uint8"},
        },
        seeds=(0, 1),
        prepare=True,
    )
