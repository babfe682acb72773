"""Which distillation helps a small student? Ten variants, three paired seeds, one teacher.

    DATA=data python -m launch.ablate --sweep=configs/sweeps/study.py --workdir=runs/study
    DATA=data python -m launch.ablate --sweep=configs/sweeps/study_nine.py --workdir=runs/study_nine

A student of 51,920 parameters trains for 6,000 updates of 16 patches of 24x24 LR pixels, in each
variant half on HR and half by one method. DATA is a folder as in docs/reproduce.md: photos in
`train/`, sets in `benchmark/` and RLFN's published file in `weights/`. The teacher, of 251,504
parameters, trains once on the same photos. The second sweep takes it from the first (or from STUDY,
the first one's workdir) and trains its students on nine photos.

Where images of a teacher are enough, they are stored. 30 runs are 180,000 updates; the teacher
makes 12,000 larger ones: at 22 ms for an update without a running teacher, and 42 to 141 ms with
one, each of the two sweeps takes two hours of two cores, with the measuring of models.
"""

import os
from typing import Any

from launch.ablation.sweep import Sweep

DATA = os.environ.get("DATA", "data")
LOSSES = "train.distill.losses"
HALF = {f"{LOSSES}.pixel.weight": 0.5}


def half(label: str, weight: float = 0.5, **fields: str) -> dict[str, float | str]:
    """Returns the overrides of a student that learns half from HR, half by the loss `label`."""
    others = {f"{LOSSES}.{label}.{name}": value for name, value in fields.items()}
    return {**HALF, f"{LOSSES}.{label}.weight": weight, **others}


def imitating(label: str, teacher: str = "teacher", **fields: str) -> dict[str, float | str]:
    """Returns the same for a loss that needs no more than the teacher's stored images."""
    return {**half(label, 0.5, **fields), f"train.distill.teachers.{teacher}.stored": "uint8"}


def make(common: dict[str, Any], **fields: Any) -> Sweep:
    """Returns the sweep of all variants, with `common` overrides and other fields of a Sweep."""
    return Sweep(
        base="configs/phases.py:study",
        common={
            "train.distill.teachers.published.model": f"{DATA}/weights/rlfn_ntire_x4.pth",
            **common,
        },
        variants={
            "control": {},
            "output": imitating("output"),
            "output-rlfn": imitating("published", "published"),
            "fitnet": half("hints", 1e-2),
            "attention": half("attention", 1e-2),
            "affinity": half("affinity", 1e-2),
            "wavelet": imitating("wavelet"),
            "detail": imitating("detail"),
            "zoom-in": half("zoom_in"),
            "early": imitating("output", schedule="between:end=1500"),
        },
        seeds=(0, 1, 2),
        sets={name: f"{DATA}/benchmark/{name}" for name in ("Set5", "Set14", "BSD100", "Urban100")},
        metrics=("psnr_y", "ssim_y"),
        **fields,
    )


def get_sweep() -> Sweep:
    """Returns the sweep on all photos."""
    return make({"data.source": f"hr:{DATA}/train"}, shared=("teacher",), prepare=True)
