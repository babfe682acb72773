"""Stands in for the program's commands: writes at once what they would leave; helpers for tests.

PRETEND in the environment says who does otherwise: "output-1 fails", "control-0 waits".
"""

import csv
import dataclasses
import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path

STEPS = 4, 8, 12
IMAGES = {"a": -1.0, "b": 0.0, "c": 1.0}  # by name: what their PSNR differs by from the mean
STOPPED = 75


def psnr(name, step=12):
    """Returns what a run has: the seed counts 1 dB, "output" 0.1 or 0.3, a step 0.01.

    A trial loses what its number is away from 2.
    """
    variant, _, seed = name.rpartition("-")
    gain = (0.1, 0.3, 0.2)[int(seed)] if variant == "output" else 0.0
    if variant.startswith("trial-"):
        gain = -0.1 * abs(int(variant.removeprefix("trial-")) - 2)
    return 30 + int(seed) + gain + 0.01 * (step - 12)


def bare(sweep):
    """Returns the smoke sweep without the tasks that decode photos and store labels."""
    return dataclasses.replace(sweep, prepare=False, variants={**sweep.variants, "output": {}})


def write_table(folder, rows):
    with (folder / "per_image.csv").open("w", newline="") as file:
        columns = ["model", "dataset", "reference", "image", "psnr_y", "ssim_y", "seconds"]
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def write_run(folder, name, phase="distill", model="student", steps=STEPS, pace=0.5):
    """Writes what the run `name` would leave."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for before, step in zip((0, *steps), steps, strict=False):
        rows.append({"phase": phase, "step": step, "seconds_per_step": 9.0 if not before else pace})
        rows[-1] |= {"memory_mb": 100 + step, "holdout_psnr_y": psnr(name, step)}
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    start = {"revision": "abc", "versions": {"jax": "1"}, "device": "2 x cpu"}
    (folder / "run.json").write_text(json.dumps({"starts": [start]}))
    (folder / "photos.json").write_text(json.dumps({"holdout": [[i, 9, 9] for i in IMAGES]}))
    images = [
        {"model": own, "dataset": "held out", "reference": "HR", "image": image, "seconds": ""}
        | {"psnr_y": psnr(name, steps[-1]) + more - 5 * (own == "bicubic"), "ssim_y": 0.8}
        for own in ("bicubic", model)
        for image, more in IMAGES.items()
    ]
    write_table(folder, images)
    (folder / "results.json").write_text("{}")


def main():
    module, *words = sys.argv[1:]
    flags = dict(word.removeprefix("--").split("=", 1) for word in words)
    folder = Path(flags.get("workdir") or flags["out"])
    name = folder.name
    behaviour = os.environ.get("PRETEND", "")
    print("device count", os.environ.get("JAX_NUM_CPU_DEVICES"), flush=True)
    if f"{name} fails" in behaviour:
        sys.exit("error: the disk of runs is full")
    if f"{name} waits" in behaviour:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(STOPPED))
            (folder / "begun").touch()
            while not (folder / "go").exists():
                time.sleep(0.02)
    if module == "kdgan_jax.evaluate":
        folder.mkdir(parents=True)
        rows = [
            {"model": "model", "dataset": "Set5", "reference": "HR", "image": "x", "psnr_y": 31}
        ]
        write_table(folder, rows)
        (folder / "results.json").write_text("{}")
    elif module == "kdgan_jax.prepare":
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.touch()
    elif name == "shared" or module == "kdgan_jax.label":
        folder.mkdir(parents=True)
        (folder / "results.json").write_text("{}")
    else:
        write_run(folder, name)


if __name__ == "__main__":
    main()
