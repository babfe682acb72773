"""The variants of configs/sweeps/study.py with nine photos, and the teacher of that sweep."""

import os

from configs.sweeps import study
from launch.ablation.sweep import Sweep

TEACHER = f"{os.environ.get('STUDY', 'runs/study')}/shared/teacher.safetensors"


def get_sweep() -> Sweep:
    """Returns the sweep."""
    return study.make(
        {
            "data.source": "embedded",
            "phases": ("distill",),
            "train.distill.teachers.teacher.model": TEACHER,
        }
    )
