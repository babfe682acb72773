"""Tables of results: JSON and CSV for programs, Markdown for people."""

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdgan_jax.evaluation.measure import HR, Rows, title
from kdgan_jax.evaluation.metrics import PROTOCOL
from kdgan_jax.runtime.files import write_json, write_text

# Metrics in a set's cell of the Markdown table, in this order, with title and format.
SHOWN = {
    "psnr_y": ("PSNR", ".2f"),
    "ssim_y": ("SSIM", ".4f"),
    "lpips_alex": ("LPIPS-Alex", ".3f"),
    "lpips_vgg": ("LPIPS-VGG", ".3f"),
    "dists": ("DISTS", ".3f"),
    "niqe": ("NIQE", ".2f"),
    "mesh": ("mesh", ".2f"),
}
# dB by which PSNR on RGB may be below that on Y. Grey errors make it 1.3 dB, since Y has 219 of 255
# steps; networks with sound colours stay below 2.7, one that makes every picture grey has 5.
COLOUR_GAP = 3.0
# With fewer images a note says that bootstrap intervals are too narrow.
FEW = 20
COVERAGE = "95 % intervals hold the true mean in 84 % of cases at 5 images, in 92 % at 14"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"


def _giga(value: int | None) -> str:
    """Returns multiply-accumulates as "52.7 G" or "0.94 G"; "-" if unknown."""
    if not value:
        return "-" if value is None else "0"
    return f"{value / 1e9:.1f} G" if value >= 1e9 else f"{value / 1e9:.2f} G"


def _seconds(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}" if value >= 0.001 else "< 0.001"


def shown(rows: Rows) -> list[str]:
    """Returns the metrics in the Markdown table: those of `SHOWN` that were measured."""
    return [name for name in SHOWN if any(row[name] is not None for row in rows)]


def markdown(rows: Rows, bicubic: Mapping[str, float] | None = None) -> str:
    """Returns a table with one line per model: PSNR / SSIM / LPIPS and others for every set.

    A set that is compared with two references has two columns, and a model that was not measured
    there a dash. Seconds per image are those of the slowest set. Lines below the table name the
    models that are worse than bicubic, and those whose colours are off, which figures on Y do not
    show.

    Args:
      rows: one per model and set.
      bicubic: its PSNR by the title of a set; None takes it from its own rows.
    """
    images = {title(row): row["images"] for row in rows}
    metrics = shown(rows)
    heads = [f"{name} ({number})" for name, number in images.items()]
    lines = [
        " | ".join(["| model", *heads, "parameters", "multi-adds", "seconds per image |"]),
        "|---" * (len(heads) + 4) + "|",
    ]
    for model in dict.fromkeys(row["model"] for row in rows):
        by_set = {title(row): row for row in rows if row["model"] == model}
        cells = [
            " / ".join(_number(by_set[name][metric], SHOWN[metric][1]) for metric in metrics)
            if name in by_set
            else "-"
            for name in images
        ]
        first = next(iter(by_set.values()))
        seconds = max(row["seconds_per_image"] for row in by_set.values())
        costs = [f"{first['params']:,}", _giga(first["multi_adds_720p"]), _seconds(seconds)]
        lines.append(" | ".join([f"| {model}", *cells, *costs]) + " |")
    if bicubic is None:
        bicubic = {
            title(row): row["psnr_y"]
            for row in rows
            if row["model"] == "bicubic" and row["psnr_y"] is not None
        }
    return "\n".join([*lines, *_worse(rows, bicubic), *_off_colour(rows)]) + "\n"


def _worse(rows: Rows, bicubic: Mapping[str, float]) -> list[str]:
    """Returns the lines of a sentence about models whose PSNR is below bicubic's, if there are."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if title(row) not in bicubic:
            continue
        gap = bicubic[title(row)] - row["psnr_y"]
        if gap > 0:
            size = f"{gap:.2f} dB" if gap >= 0.005 else "less than 0.01 dB"
            found.setdefault(row["model"], []).append(f"on {title(row)} by {size}")
    texts = [f"{model} {', '.join(gaps)}" for model, gaps in found.items()]
    return ["", f"Worse than bicubic in PSNR: {'; '.join(texts)}."] if found else []


def _off_colour(rows: Rows) -> list[str]:
    """Returns the lines of a sentence about models whose colours are off, if there are."""
    texts = [
        f"{row['model']} on {title(row)}"
        f" ({row['psnr_y']:.2f} dB on Y, {row['psnr_rgb']:.2f} on RGB)"
        for row in rows
        if None not in (row["psnr_y"], row["psnr_rgb"])
        and row["psnr_rgb"] < row["psnr_y"] - COLOUR_GAP
    ]
    return ["", f"Colours are off: {'; '.join(texts)}."] if texts else []


def comparisons_markdown(comparisons: Rows) -> str:
    """Returns a table with one line per pair, set and metric of `significance.compare`."""
    lines = ["| difference | set (images) | metric | mean | 95 % interval |", "|---" * 5 + "|"]
    for row in comparisons:
        digits = "+.3f" if row["metric"].startswith("psnr") else "+.4f"
        interval = f"{_number(row['low'], digits)} to {_number(row['high'], digits)}"
        lines.append(
            f"| {row['a']} - {row['b']} | {title(row)} ({row['images']}) | {row['metric']}"
            f" | {_number(row['difference'], digits)} | {interval} |"
        )
    small = {title(row): row["images"] for row in comparisons if row["images"] < FEW}
    if small:
        text = f"Intervals are too narrow for few images ({'; '.join(small)}): {COVERAGE}."
        lines += ["", text]
    left_out = sum(row["left_out"] for row in comparisons)
    if left_out:
        lines += ["", f"Left out because a figure is not finite: {left_out} differences."]
    return "\n".join(lines) + "\n"


def _csv(rows: Rows) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _json_value(value: Any) -> Any:
    """Returns `value` with infinity as "inf", since JSON has no number for it."""
    if isinstance(value, dict):
        return {key: _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def write(
    folder: Path,
    rows: Rows,
    per_image: Rows,
    comparisons: Rows | None = None,
    *,
    bicubic: Mapping[str, float] | None = None,
    paths: Mapping[str, str] | None = None,
    **about: Any,
) -> None:
    """Writes the tables of an evaluation into `folder`.

    `results.md` is for people; `results.csv` and `results.json` have one row per model and set,
    `per_image.csv` one per model, set and image. `results.json` is written last: if it exists, so
    do the others.

    Args:
      folder: for the files.
      rows: one per model and set, at least one.
      per_image: one per model, set and image, at least one.
      comparisons: rows of `significance.compare`.
      bicubic: as for `markdown`.
      paths: where models are whose names do not say it, by name.
      about: further facts, such as the device, for the JSON; texts also for the Markdown.
    """
    comparisons = comparisons or []
    facts = "".join(f"; {name} {v}" for name, v in about.items() if v and isinstance(v, str))
    names = " / ".join(SHOWN[name][0] for name in shown(rows))
    text = f"{names} at x{rows[0]['scale']}, {PROTOCOL}{facts}. PSNR in dB; multi-adds for a"
    text += " 1280x720 output; seconds are those of one photo alone, in the slowest set."
    for name in dict.fromkeys(row["reference"] for row in rows):
        if name in (HR, None):
            continue
        text += f' "To {name}" means: compared with the image that {name} makes of LR, not with HR.'
    text += f"\n\n{markdown(rows, bicubic)}"
    if paths:
        text += "\n" + "".join(f"- {name}: {path}\n" for name, path in paths.items())
    if comparisons:
        text += f"\nPaired over images, bootstrap:\n\n{comparisons_markdown(comparisons)}"
    write_text(folder / "results.md", text)
    write_text(folder / "results.csv", _csv(rows))
    write_text(folder / "per_image.csv", _csv(per_image))
    results: dict[str, Any] = {"protocol": PROTOCOL, **about, "rows": rows}
    if paths:
        results["models"] = dict(paths)
    if comparisons:
        results["comparisons"] = comparisons
    write_json(folder / "results.json", _json_value(results))
