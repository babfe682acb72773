"""Training metrics of a run: JSON lines and TensorBoard events."""

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from kdgan_jax.runtime.console import log
from kdgan_jax.runtime.files import read_text, write_text

# Columns of the log that are not losses; no loss may have one of these names.
NO_LOSSES = (
    *("phase", "step", "total", "skipped", "not_finite", "gradient_norm"),
    *("logit_real", "logit_fake", "learning_rate", "memory_mb", "seconds_per_step", "seconds_left"),
    *("holdout_psnr_y", "holdout_ssim_y", "holdout_psnr_rgb"),
    *("holdout_lpips_alex", "holdout_lpips_vgg", "holdout_dists", "holdout_niqe", "holdout_mesh"),
)

Row = dict[str, float | str]  # values by column; "not_finite" alone has words


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Returns the rows of a metrics file; a line that a kill cut short is skipped."""
    rows = []
    if Path(path).is_file():
        for line in read_text(path).splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                rows.append(json.loads(line))
    return rows


class MetricLog:
    """Appends the scalars of one phase to `metrics.jsonl` and to its TensorBoard events.

    First removes the phase's rows after step `start`, since those steps are about to be repeated.
    """

    def __init__(self, workdir: Path, phase: str, start: int) -> None:
        self.path, self.phase = workdir / "metrics.jsonl", phase
        rows = read_metrics(self.path)
        kept = [row for row in rows if row["phase"] != phase or row["step"] <= start]
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in kept))
        self._events = None
        try:
            from tensorboardX import SummaryWriter  # imports no TensorFlow

            self._events = SummaryWriter(str(workdir / "events" / phase), purge_step=start + 1)
        except ImportError:
            log.warning("No TensorBoard events are written: tensorboardX is not installed")

    def write(self, step: int, row: Row) -> None:
        """Writes one row at `step`."""
        line = {"phase": self.phase, "step": step, **row}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self._events:
            for name, value in row.items():
                add = self._events.add_text if isinstance(value, str) else self._events.add_scalar
                add(name, value, step)

    def picture(self, step: int, image: np.ndarray) -> None:
        """Adds a picture, (H, W, 3) uint8, to the events."""
        if self._events and image.size:
            self._events.add_image("holdout", image, step, dataformats="HWC")

    def close(self) -> None:
        """Flushes and closes the events."""
        if self._events:
            self._events.close()
