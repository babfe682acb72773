"""Speed of upscaling against other engines, side by side.

    python -m launch.benchmarks.speed [--quick] [--torch=PYTHON] [--out=FOLDER]

Every engine runs the same networks in a process of its own, on all cores, and is called in turn, so
that nothing else runs and all share the machine's good and bad minutes. A call goes from uint8 to
uint8. `ours` is `model.upscale` as it comes, `ours, jax` the same by JAX; the others are called by
hand (peers.py). Figures are medians over rounds. Ratios compare times of the same round: above 1,
`ours` is faster; their quartiles are beside them.

A second table is of training steps, beside PyTorch's. A third is of the whole command: one photo,
with and without what earlier calls have kept, a folder of photos against a loop in PyTorch, and the
memory for a result of 8K.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np

from kdgan_jax.formats import foreign, native
from kdgan_jax.inference.load import load
from kdgan_jax.inference.model import Model
from kdgan_jax.models import generator
from kdgan_jax.onnx import program
from kdgan_jax.runtime import console, devices, files
from launch.benchmarks import commands, peers, steps, workers

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
PARTS = ["networks", "steps", "commands"]
OURS, OURS_JAX, BY_HAND = "ours", "ours, jax", "onnxruntime"


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


def commands_of(network: str, folder: Path, torch: str) -> dict[str, workers.Command]:
    """Returns the commands of all engines for a network whose files are in `folder`."""
    weights, graph = folder / f"{network}.safetensors", folder / f"{network}.onnx"
    by_name: dict[str, workers.Command] = {
        engine: (sys.executable, "-m", "launch.benchmarks.speed", "--worker", engine, weights)
        for engine in (OURS, OURS_JAX)
    }
    return by_name | {
        engine: workers.of_peer(engine, network, graph, torch) for engine in peers.ENGINES
    }


def named(case: tuple[str, int, int]) -> str:
    """Returns a network and a size, such as "imdn 480x270"."""
    network, height, width = case
    return f"{network} {width}x{height}"


def row(case: tuple[str, int, int], times: dict[str, list[float]]) -> str:
    """Returns the table's row of a network and size."""
    engines = (OURS, OURS_JAX, *peers.ENGINES)
    cells = [f"{1e3 * np.median(times[e]):.3g}" if e in times else "-" for e in engines]
    others = [e for e in peers.ENGINES if e in times]
    best = workers.best(times, others)
    by_hand = workers.ratio(times[BY_HAND], times[OURS]) if BY_HAND in times else "-"
    cells += [by_hand, workers.ratio(best, times[OURS]), workers.ratio(best, times[OURS_JAX])]
    return f"| {named(case).replace(' ', ' | ')} | {' | '.join(cells)} |"


def networks(
    cases: list[tuple[str, int, int]], torch: str, rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Prints the table of networks; returns the seconds by case and engine."""
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
            with workers.started(commands_of(network, Path(folder), torch)) as running:
                for case in (case for case in cases if case[0] == network):
                    times = workers.measured(running, *case[1:], rounds)
                    kept[named(case)] = times
                    print(row(case, times), flush=True)
    return kept


def main() -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m launch.benchmarks.speed", description=__doc__.split("\n\n")[0]
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="compact at three sizes, 20 photos, fewer rounds")
    add("--parts", nargs="+", choices=PARTS, default=PARTS, help="which tables (default: all)")
    add("--networks", default="", help="only these, such as compact,imdn")
    add("--torch", default=sys.executable, help="a Python that has PyTorch, and Pillow for photos")
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
    quick, rounds = arguments.quick, arguments.rounds
    chosen = arguments.networks.split(",") if arguments.networks else list(NETWORKS)
    kept = {}
    if "networks" in arguments.parts:
        cases = [case for case in (QUICK if quick else CASES) if case[0] in chosen]
        kept |= networks(cases, arguments.torch, rounds)
    if "steps" in arguments.parts:
        kept |= steps.table(arguments.torch, rounds)
    if "commands" in arguments.parts:
        devices.configure()
        number, rounds = (20, min(rounds, 3)) if quick else (100, rounds)
        kept |= commands.table(arguments.torch, number, rounds)
    if arguments.out:
        Path(arguments.out).mkdir(parents=True, exist_ok=True)
        files.write_json(Path(arguments.out) / "times.json", kept)
    return 0


if __name__ == "__main__":
    sys.exit(main())
