"""What a run writes while it trains: metrics as JSON lines, TensorBoard events, a progress bar."""

import contextlib
import datetime
import json
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kdgan_jax.io.files import write_text

log = logging.getLogger("kdgan_jax")

# Columns of metrics that are no losses: no loss can be called so.
NO_LOSSES = (
    *("phase", "step", "total", "skipped", "gradient_norm", "logit_real", "logit_fake"),
    *("seconds_per_step", "holdout_psnr_y"),
)


def setup() -> None:
    """Sends the program's own messages to stderr, bare, and only warnings of other packages."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr, force=True)
    log.setLevel(logging.INFO)
    # Orbax's tasks repeat, at the very end and with tracebacks, what has been said of a full disk.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Returns the rows of a metrics file; a line cut short by a kill is left out."""
    rows = []
    if Path(path).is_file():
        for line in Path(path).read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                rows.append(json.loads(line))
    return rows


class MetricLog:
    """Appends scalars to `metrics.jsonl` and TensorBoard events of one phase of a run.

    Rows of this phase after `start` are removed first: the steps are about to be made again.
    """

    def __init__(self, workdir: Path, phase: str, start: int) -> None:
        self.path, self.phase = workdir / "metrics.jsonl", phase
        rows = read_metrics(self.path)
        kept = [r for r in rows if r["phase"] != phase or r["step"] <= start]
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in kept))
        self._events = None
        try:
            from tensorboardX import SummaryWriter  # imports no TensorFlow

            self._events = SummaryWriter(str(workdir / "events" / phase), purge_step=start + 1)
        except ImportError:
            log.warning("tensorboardX is not installed: no TensorBoard events are written")

    def write(self, step: int, scalars: dict[str, float]) -> None:
        """Writes one row: what `scalars` hold, at `step`."""
        row = {"phase": self.phase, "step": step, **scalars}
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        if self._events:
            for name, value in scalars.items():
                self._events.add_scalar(name, value, step)

    def close(self) -> None:
        """Flushes the events."""
        if self._events:
            self._events.close()


class Progress:
    """A bar with elapsed time and ETA on a terminal; elsewhere a line every 30 seconds."""

    interval = 30.0

    def __init__(self, title: str, total: int, start: int = 0) -> None:
        self.title, self.total, self.start, self.done = title, total, start, start
        self._began = self._said = time.monotonic()
        self._note = ""
        self._bar: Any = None
        try:
            from rich import progress
        except ImportError:
            return
        if sys.stderr.isatty():
            from rich.console import Console

            self._bar = progress.Progress(
                progress.TextColumn("{task.description:<22}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TimeElapsedColumn(),
                progress.TextColumn("ETA"),
                progress.TimeRemainingColumn(),
                progress.TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task(title, total=total, completed=start, note="")
            self._bar.start()

    def advance(self, note: str = "", number: int = 1) -> None:
        """Counts `number` more; `note` is shown at the end of the line until the next one."""
        self.done += number
        if self._bar:
            self._bar.update(self._task, advance=number, **({"note": note} if note else {}))
            return
        now = time.monotonic()
        self._note = note or self._note
        if self.done < self.total and now < self._said + self.interval:
            return
        self._said, spent = now, now - self._began
        left = spent / (self.done - self.start) * (self.total - self.done)
        log.info(
            "%s: %d of %d, %s elapsed, ETA %s  %s",
            self.title,
            self.done,
            self.total,
            datetime.timedelta(seconds=round(spent)),
            datetime.timedelta(seconds=round(left)),
            self._note,
        )

    def skip(self, number: int) -> None:
        """Counts `number` that were done at an earlier time."""
        self.start += number
        self.done += number
        if self._bar:
            self._bar.update(self._task, advance=number)

    def close(self) -> None:
        """Leaves the finished bar on the screen."""
        if self._bar:
            self._bar.stop()


@contextlib.contextmanager
def progress(title: str, total: int, start: int = 0) -> Iterator[Progress]:
    """Yields a `Progress` and closes it."""
    bar = Progress(title, total, start)
    try:
        yield bar
    finally:
        bar.close()
