"""Speed and memory of the command `kdgan upscale`, for launch/benchmarks/speed.py.

Commands take turns, from the start of the process to the last file written.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from kdgan_jax.data import embedded, photos, sources
from kdgan_jax.formats import foreign
from kdgan_jax.inference.load import load
from kdgan_jax.inference.model import Model
from kdgan_jax.pictures import colour
from kdgan_jax.runtime.console import log
from launch.benchmarks import peers
from launch.benchmarks.data import quartiles

MODEL = "clean_x4"
WIDTH, HEIGHT = 480, 270
LARGE = 1920, 1080  # of the photo whose result has 8K
STEP = 12  # pixels between the corners of photos that are cut out of one
IMPORTS = "import jax, onnxruntime, PIL"  # without which nothing can run
PEAK = (
    "import sys; from kdgan_jax.upscale import main; code = main(sys.argv[1:]);"
    " print(open('/proc/self/status').read()); sys.exit(code)"
)

Figures = dict[str, list[float]]  # seconds in every round, by what took them


class Row(NamedTuple):
    """A row of the table.

    Attributes:
      what: is done.
      times: of "ours" and of others.
      bound: seconds that ours may take, by round.
      rule: says what the bound is.
    """

    what: str
    times: Figures
    bound: list[float]
    rule: str


def pictures(folder: Path, number: int) -> None:
    """Writes colour photos of `WIDTH` x `HEIGHT`, cut out of those in packages, as JPEG."""
    found = sources.installed([*embedded.TRAIN, *embedded.HOLDOUT], 1)
    whole = [photos.pixels(photo.hr) for photo in found if photo.hr is not None]
    # What is grey stays grey by the command, and not by the loop.
    whole = [
        image
        for image in whole
        if image.shape[0] >= HEIGHT and image.shape[1] >= WIDTH and not colour.is_grey(image)
    ]
    folder.mkdir()
    for i in range(number):
        image = whole[i % len(whole)]
        move = i // len(whole) * STEP
        top, left = move % (image.shape[0] - HEIGHT + 1), move % (image.shape[1] - WIDTH + 1)
        part = image[top : top + HEIGHT, left : left + WIDTH]
        Image.fromarray(part).save(folder / f"{i:03}.jpg", quality=95)


def run(*words: object, cache: Path | None = None) -> tuple[float, str]:
    """Runs Python with arguments, in an empty cache folder if one is given.

    Returns:
      The seconds that it takes, and what it prints.
    """
    environment = dict(os.environ) | ({"XDG_CACHE_HOME": str(cache)} if cache else {})
    began = time.perf_counter()
    done = subprocess.run(
        [*map(str, words)], env=environment, capture_output=True, text=True, check=True
    )
    return time.perf_counter() - began, done.stdout


def upscale(source: Path, out: Path, cache: Path | None = None) -> float:
    """Returns the seconds of the command."""
    words = "-m", "kdgan_jax.upscale", source, "-o", out, "-n", MODEL, "--overwrite"
    return run(sys.executable, *words, cache=cache)[0]


def taken_in_turns(rounds: int, calls: dict[str, Callable[[], float]]) -> Figures:
    """Returns the seconds of calls, which are made once before they count."""
    times: Figures = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            seconds = call()
            if number:
                times[name].append(seconds)
    return times


def one_photo(source: Path, folder: Path, model: Model, rounds: int) -> Iterator[Row]:
    """Yields the rows of the start: warm and cold."""
    lr = np.asarray(Image.open(source))

    def call() -> float:
        began = time.perf_counter()
        model.upscale(lr)
        return time.perf_counter() - began

    def cold() -> float:
        with tempfile.TemporaryDirectory() as cache:
            return upscale(source, folder / "one", Path(cache))

    times = taken_in_turns(
        rounds,
        {
            "ours": lambda: upscale(source, folder / "one"),
            "imports": lambda: run(sys.executable, "-c", IMPORTS)[0],
            "network": call,
            "cold": cold,
        },
    )
    warm, first = times["ours"], times.pop("cold")
    bound = (2 * np.array(times["imports"]) + np.array(times["network"])).tolist()
    yield Row("one photo", times, bound, "2 imports + network")
    bound = (2.5 * np.array(warm)).tolist()
    yield Row("one photo, no caches", {"ours": first, "warm": warm}, bound, "2.5 warm")


def many_photos(source: Path, folder: Path, model: Model, torch: str, rounds: int) -> Row:
    """Returns the row of a folder of photos, against a loop in PyTorch."""
    weights, out = folder / "weights.npz", folder / "torch"
    np.savez(weights, **foreign.to_state(model.module, model.params))
    out.mkdir()
    words = torch, Path(peers.__file__), "loop", model.name, weights, source, out
    times = taken_in_turns(
        rounds,
        {
            "ours": lambda: upscale(source, folder / "many"),
            "torch_channels_last": lambda: run(*words)[0],
        },
    )
    for path in sorted(out.iterdir()):  # the same network
        ours = np.asarray(Image.open(folder / "many" / path.name)).astype(int)
        assert np.abs(ours - np.asarray(Image.open(path))).max() <= 1, path
    bound = (np.array(times["torch_channels_last"]) / 1.2).tolist()
    return Row(f"{len(list(source.iterdir()))} photos", times, bound, "PyTorch / 1.2")


def megabytes(source: Path, folder: Path) -> float:
    """Returns the most memory that the command takes for a result of 8K; Linux only."""
    with Image.open(source) as image:
        image.resize(LARGE, Image.Resampling.BICUBIC).save(folder / "large.png")
    words = folder / "large.png", "-o", folder / "large", "-n", MODEL
    _, said = run(sys.executable, "-c", PEAK, *words)
    return int(re.findall(r"VmHWM:\s*(\d+) kB", said)[0]) / 1024


def shown(row: Row) -> str:
    """Returns the line of a row: medians, and the bound over ours, with its quartiles."""
    cells = [f"{name} {np.median(seconds):.2f}" for name, seconds in row.times.items()]
    low, middle, high = quartiles(np.array(row.bound) / np.array(row.times["ours"]))
    ratio = f"{middle:.2f} ({low:.2f} to {high:.2f})"
    return f"| {row.what} | {', '.join(cells)} | {row.rule} | {ratio} |"


def table(torch: str, number: int, rounds: int) -> dict[str, Figures]:
    """Prints the table.

    Args:
      torch: a Python that has PyTorch and Pillow.
      number: of photos in the folder.
      rounds: of calls for one photo; for the folder a third, and at least 3.

    Returns:
      The figures of each row.
    """
    kept: dict[str, Figures] = {}
    model = load(MODEL)
    print("\n| kdgan upscale | seconds | bound | bound / ours |\n|---|---|---|---|", flush=True)

    def show(row: Row) -> None:
        kept[row.what] = row.times
        print(shown(row), flush=True)

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pictures(folder / "photos", number)
        first = folder / "photos/000.jpg"
        for row in one_photo(first, folder, model, rounds):
            show(row)
        try:
            show(many_photos(folder / "photos", folder, model, torch, max(3, rounds // 3)))
        except OSError as error:
            log.warning("%d photos: left out (%s)", number, error)
        except subprocess.CalledProcessError as error:
            log.warning("%d photos: left out (%s)", number, error.stderr.strip().split("\n")[-1])
        if sys.platform == "linux":
            memory = megabytes(first, folder)
            kept["8K"] = {"MB": [memory]}
            print(f"\nA result of 7680x4320 takes {memory:.0f} MB at most.", flush=True)
    return kept
