"""Speed of upscaling against other engines, side by side.

    python -m launch.benchmarks.speed [--quick] [--torch=PYTHON] [--out=FOLDER]

Every engine runs the same networks in a process of its own, on all cores, and is called in turn, so
that nothing else runs and all share the machine's good and bad minutes. A call goes from uint8 to
uint8. `ours` is `model.upscale` as it comes, `ours, jax` the same by JAX; the others are called by
hand (peers.py). Figures are medians over rounds. Ratios compare times of the same round: above 1,
`ours` is faster; their quartiles are beside them.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np

from kdgan_jax.formats import foreign, native
from kdgan_jax.inference.load import load
from kdgan_jax.inference.model import Model
from kdgan_jax.models import generator
from kdgan_jax.onnx import program
from kdgan_jax.runtime import console, devices, files
from launch.benchmarks import peers
from launch.benchmarks.data import quartiles

NETWORKS = {
    "compact": {"channels": 32, "depth": 4},
    "imdn": {},
    "vapsr": {},
    "rrdb": {},
}
CASES = [  # network, LR height, width
    ("compact", 64, 64),
    ("compact", 256, 256),
    ("compact", 270, 480),
    ("compact", 540, 960),
    ("compact", 1080, 1920),
    ("imdn", 270, 480),
    ("vapsr", 270, 480),
    ("rrdb", 64, 64),
]
QUICK = CASES[:3]
OURS, OURS_JAX, BY_HAND = "ours", "ours, jax", "onnxruntime"
SECONDS = 0.4  # of calls in a round


def random_model(name: str) -> Model:
    """Returns a network of random weights."""
    random, kwargs = np.random.default_rng(0), NETWORKS[name]
    shapes = foreign.shapes(generator(name, kwargs, 4))

    def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        inputs = np.prod(leaf.shape[:-1]) if len(leaf.shape) > 1 else 100
        return random.normal(0, 0.5 * inputs**-0.5, leaf.shape).astype(np.float32)

    return Model(name, kwargs, 4, jax.tree.map(draw, shapes))


def ours(engine: str, path: str) -> tuple[peers.Run, int]:
    """Returns a call of `model.upscale`."""
    devices.configure()
    model = load(path, engine=engine)
    return model.upscale, model.parameters


class Worker:
    """An engine that runs a network in a process of its own."""

    def __init__(self, engine: str, network: str, folder: Path, torch: str) -> None:
        """Starts the process."""
        self.engine = engine
        weights, graph = folder / f"{network}.safetensors", folder / f"{network}.onnx"
        if engine in (OURS, OURS_JAX):
            command = [sys.executable, "-m", "launch.benchmarks.speed", "--worker", engine, weights]
        else:
            python = torch if engine.startswith("torch") else sys.executable
            command = [python, Path(peers.__file__), engine, network, graph]
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.parameters = int(self._answer())

    def _answer(self) -> float:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.engine} does not run here")
        return float(line)

    def seconds(self, height: int, width: int, calls: int) -> float:
        """Returns the median time of a call."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{height} {width} {calls}\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """Ends the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def workers(network: str, folder: Path, torch: str) -> Iterator[Worker]:
    """Yields every engine that runs here."""
    for engine in (OURS, OURS_JAX, *peers.ENGINES):
        try:
            yield Worker(engine, network, folder, torch)
        except RuntimeError as error:
            console.log.warning("%s: left out", error)


def measured(engines: list[Worker], height: int, width: int, rounds: int) -> dict[str, list[float]]:
    """Returns the seconds of a call in every round, by engine; calls take turns."""
    times: dict[str, list[float]] = {worker.engine: [] for worker in engines}
    calls = {}
    for worker in engines:
        first = worker.seconds(height, width, 1)
        calls[worker.engine] = max(1, min(50, round(SECONDS / first)))
    for _ in range(rounds):
        for worker in engines:
            seconds = worker.seconds(height, width, calls[worker.engine])
            times[worker.engine].append(seconds)
    return times


def ratio(theirs: list[float], mine: list[float]) -> str:
    """Returns the median of theirs / mine and its quartiles."""
    low, middle, high = quartiles(np.array(theirs) / np.array(mine))
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def row(case: tuple[str, int, int], times: dict[str, list[float]]) -> str:
    """Returns the table's row of a network and size."""
    network, height, width = case
    engines = (OURS, OURS_JAX, *peers.ENGINES)
    cells = [f"{1e3 * np.median(times[e]):.3g}" if e in times else "-" for e in engines]
    others = [e for e in peers.ENGINES if e in times]
    best = np.min([times[e] for e in others], axis=0).tolist()
    by_hand = ratio(times[BY_HAND], times[OURS]) if BY_HAND in times else "-"
    cells += [by_hand, ratio(best, times[OURS]), ratio(best, times[OURS_JAX])]
    return f"| {network} | {width}x{height} | {' | '.join(cells)} |"


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        prog="python -m launch.benchmarks.speed", description=__doc__.split("\n\n")[0]
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="compact at three sizes, in about three minutes")
    add("--networks", default="", help="only these, such as compact,imdn")
    add("--torch", default=sys.executable, help="a Python that has PyTorch")
    add("--rounds", type=int, default=9)
    add("--out", default="", help="folder for times.json")
    add("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    console.setup()
    if arguments.worker:
        engine, path = arguments.worker
        name = "jax" if engine == OURS_JAX else "auto"
        peers.answer(*ours(name, path))
        return 0
    chosen = arguments.networks.split(",") if arguments.networks else list(NETWORKS)
    cases = [case for case in (QUICK if arguments.quick else CASES) if case[0] in chosen]
    engines = (OURS, OURS_JAX, *peers.ENGINES)
    ratios = f"{BY_HAND} / ours", "best of others / ours", "best of others / ours, jax"
    print(f"{devices.describe(devices.count(0, (devices.cores(),)))}; milliseconds\n")
    print(f"| network | LR | {' | '.join([*engines, *ratios])} |")
    print("|" + "---|" * (2 + len(engines) + len(ratios)))
    kept = {}
    with tempfile.TemporaryDirectory() as folder:
        for network in dict.fromkeys(case[0] for case in cases):
            model = random_model(network)
            native.save(Path(folder) / f"{network}.safetensors", model)
            (Path(folder) / f"{network}.onnx").write_bytes(program.to_bytes(model))
            with contextlib.ExitStack() as stack:
                running = []
                for worker in workers(network, Path(folder), arguments.torch):
                    running.append(worker)
                    stack.callback(worker.close)
                for case in (case for case in cases if case[0] == network):
                    times = measured(running, *case[1:], arguments.rounds)
                    kept["{} {}x{}".format(*case)] = times
                    print(row(case, times), flush=True)
    if arguments.out:
        Path(arguments.out).mkdir(parents=True, exist_ok=True)
        files.write_json(Path(arguments.out) / "times.json", kept)
    return 0


if __name__ == "__main__":
    sys.exit(main())
