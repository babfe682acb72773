"""Tables of results: JSON and CSV for programs, Markdown for people."""

import csv
import io
import math
from pathlib import Path
from typing import Any

from kdgan_jax.evaluation.measure import Rows
from kdgan_jax.evaluation.metrics import PROTOCOL
from kdgan_jax.runtime.files import write_json, write_text

# What a set's cell of the Markdown table shows, in this order, if it was measured.
SHOWN = {"psnr_y": ("PSNR", ".2f"), "ssim_y": ("SSIM", ".4f"), "lpips_alex": ("LPIPS-Alex", ".3f")}


# With fewer images a table says that bootstrap intervals are too narrow.
FEW = 20
COVERAGE = "the 95 % intervals hold 84 % of the time at 5 images, 92 % at 14"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"


def _giga(value: int | None) -> str:
    """Returns multiply-accumulates as "52.7 G" or "0.94 G"."""
    if value is None:
        return "-"
    return f"{value / 1e9:.1f} G" if value >= 1e9 else f"{value / 1e9:.2f} G" if value else "0"


def _seconds(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}" if value >= 0.001 else "< 0.001"


def shown(rows: Rows) -> list[str]:
    """Returns the metrics that the Markdown table shows: those of `SHOWN` that were measured."""
    return [name for name in SHOWN if any(row[name] is not None for row in rows)]


def markdown(rows: Rows) -> str:
    """Returns a table with one line per model: PSNR / SSIM / LPIPS for every data set.

    Seconds are those of the set that takes longest.
    """
    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    images = {row["dataset"]: row["images"] for row in rows}
    metrics = shown(rows)
    titles = [f"{name} ({images[name]})" for name in datasets]
    lines = [
        " | ".join(["| model", *titles, "parameters", "multi-adds", "seconds per image |"]),
        "|---" * (len(datasets) + 4) + "|",
    ]
    for model in dict.fromkeys(row["model"] for row in rows):
        own = {row["dataset"]: row for row in rows if row["model"] == model}
        cells = [
            " / ".join(_number(own[name][metric], SHOWN[metric][1]) for metric in metrics)
            if name in own
            else "-"
            for name in datasets
        ]
        some = next(iter(own.values()))
        seconds = max(row["seconds_per_image"] for row in own.values())
        costs = [f"{some['params']:,}", _giga(some["multi_adds_720p"]), _seconds(seconds)]
        lines.append(" | ".join([f"| {model}", *cells, *costs]) + " |")
    return "\n".join(lines) + "\n"


def comparisons_markdown(comparisons: Rows) -> str:
    """Returns a table with one line per pair, set and metric of `significance.compare`."""
    lines = ["| difference | set (images) | metric | mean | 95 % interval |", "|---" * 5 + "|"]
    for row in comparisons:
        digits = "+.3f" if row["metric"].startswith("psnr") else "+.4f"
        interval = f"{_number(row['low'], digits)} to {_number(row['high'], digits)}"
        lines.append(
            f"| {row['a']} - {row['b']} | {row['dataset']} ({row['images']}) | {row['metric']}"
            f" | {_number(row['difference'], digits)} | {interval} |"
        )
    small = {row["dataset"]: row["images"] for row in comparisons if row["images"] < FEW}
    if small:
        lines += ["", f"Too narrow for few images ({', '.join(small)}): {COVERAGE}."]
    left_out = sum(row["left_out"] for row in comparisons)
    if left_out:
        lines += ["", f"Left out because one of the two is exact: {left_out} differences."]
    return "\n".join(lines) + "\n"


def _csv(rows: Rows) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _valid(value: Any) -> Any:
    """Returns `value` with infinity as "inf", which JSON has no number for."""
    if isinstance(value, dict):
        return {key: _valid(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_valid(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def write(
    folder: Path, rows: Rows, per_image: Rows, comparisons: Rows | None = None, **about: Any
) -> None:
    """Writes the tables of a run of evaluation into `folder`.

    `results.md` is for people; `results.csv` and `results.json` have one row per model and set,
    `per_image.csv` one per model, set and image. `results.json` comes last: with it the others
    are there.

    Args:
      folder: where to.
      rows: one per model and set, at least one.
      per_image: one per model, set and image, at least one.
      comparisons: rows of `significance.compare`.
      about: more facts for the JSON and the line above the table, such as the device.
    """
    comparisons = comparisons or []
    facts = "".join(f"; {name} {v}" for name, v in about.items() if isinstance(v, str))
    names = " / ".join(SHOWN[name][0] for name in shown(rows))
    text = f"{names} at x{rows[0]['scale']}, {PROTOCOL}{facts}. PSNR in dB; multi-adds for a"
    text += " 1280x720 output; seconds are a median over the set that takes longest.\n\n"
    text += markdown(rows)
    if comparisons:
        text += f"\nPaired over images, bootstrap:\n\n{comparisons_markdown(comparisons)}"
    write_text(folder / "results.md", text)
    write_text(folder / "results.csv", _csv(rows))
    write_text(folder / "per_image.csv", _csv(per_image))
    found = {"protocol": PROTOCOL, **about, "rows": rows}
    if comparisons:
        found["comparisons"] = comparisons
    write_json(folder / "results.json", _valid(found))
