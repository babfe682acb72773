"""Tables of results: JSON for programs, Markdown for people."""

from pathlib import Path
from typing import Any

from kdgan_jax.evaluate.metrics import PROTOCOL
from kdgan_jax.io.files import write_json, write_text


def markdown(rows: list[dict[str, Any]]) -> str:
    """Returns a table with one line per model: PSNR / SSIM on Y for every data set."""
    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    images = {row["dataset"]: row["images"] for row in rows}
    titles = [f"{name} ({images[name]})" for name in datasets]
    lines = [
        " | ".join(["| model", *titles, "parameters", "seconds per image |"]),
        "|---" * (len(datasets) + 3) + "|",
    ]
    for model in dict.fromkeys(row["model"] for row in rows):
        own = {row["dataset"]: row for row in rows if row["model"] == model}
        cells = [
            f"{own[name]['psnr_y']:.2f} / {own[name]['ssim_y']:.4f}" if name in own else "-"
            for name in datasets
        ]
        some = next(iter(own.values()))
        seconds = max(row["seconds_per_image"] for row in own.values())
        lines.append(" | ".join([f"| {model}", *cells, f"{some['params']:,}", f"{seconds:.2f} |"]))
    return "\n".join(lines) + "\n"


def write(
    folder: Path, rows: list[dict[str, Any]], per_image: list[dict[str, Any]], **about: Any
) -> None:
    """Writes `results.md` and `results.json` (last: it marks a finished run) into `folder`.

    Args:
      folder: where to.
      rows: one per model and set.
      per_image: one per model, set and image.
      about: more facts for the JSON and the line above the table, such as the device.
    """
    scale = rows[0]["scale"]
    facts = ", ".join(f"{name} {value}" for name, value in about.items() if isinstance(value, str))
    text = f"PSNR (dB) / SSIM at x{scale}, {PROTOCOL}; {facts}.\n\n{markdown(rows)}"
    write_text(folder / "results.md", text)
    write_json(
        folder / "results.json",
        {"protocol": PROTOCOL, **about, "rows": rows, "per_image": per_image},
    )
