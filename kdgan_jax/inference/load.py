"""Models from paths: runs and their checkpoints, our own files, and what others have published.

A few small ones come with the package and go by name.
"""

import contextlib
from pathlib import Path

import jax
import numpy as np

from kdgan_jax.formats import foreign, imported, native, origin
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime.console import log
from kdgan_jax.runtime.errors import UserError, suggest
from kdgan_jax.runtime.files import sha256
from kdgan_jax.workdir import checkpoint

WEIGHTS = "ema", "raw"
# Phases of runs before version 0.2, whose checkpoints do not say which network they are of.
OLD_PHASES = "teacher", "distill", "adversarial"
# Students that come with the package, by name.
SHIPPED = {p.stem: p for p in sorted((Path(__file__).parents[1] / "weights").glob("*.safetensors"))}


def load(
    path: str | Path,
    role: str = "student",
    *,
    ema: bool = True,
    scale: int | None = None,
    fold: bool = True,
) -> Model:
    """Returns the trained model at `path`, on the host; it runs on whatever device is there.

    Args:
      path: a name of `SHIPPED`, the workdir of a run (`runs/kd`), one of its checkpoints
        (`runs/kd/checkpoints/distill/1500`), the origin's SavedModel, a file of our own
        (`.safetensors`), or a published one (`imported.READERS`).
      role: of a workdir: a phase ("distill"), or a network ("student"), which is the one of the
        last phase that trains it and has a checkpoint.
      ema: the averaged weights, which are those evaluated; False gives the raw ones.
      scale: for published files that serve several scales.
      fold: whether a network with branches for training comes as what it is folded into.

    A path may name role and weights itself: "runs/kd:teacher", "runs/kd:raw",
    "runs/kd:teacher:raw".

    Raises:
      UserError: there is no such path, role or checkpoint, or the checkpoint is damaged.
    """
    folder, words = _split(str(path))
    single = folder.is_file() or origin.is_origin(folder) or _is_checkpoint(folder)
    for word in words:
        if single and not (word in WEIGHTS and _is_checkpoint(folder)):
            raise UserError(f"{path}: {folder} is a single model; leave out {':' + word!r}")
        if word in WEIGHTS:
            ema = word == "ema"
        else:
            role = word
    if str(path) in SHIPPED and not folder.exists():
        return Model.of(native.load(SHIPPED[str(path)]))
    if imported.is_foreign(folder):
        return Model.of(imported.load(folder, scale=scale))
    if folder.is_file():
        return Model.of(native.load(folder))
    if origin.is_origin(folder):
        return Model.of(origin.load(folder))
    found = folder if _is_checkpoint(folder) else _newest(folder, role)
    if found is not None:
        model = _load_checkpoint(found, ema)
        return model.folded() if fold else model
    what = f"holds no checkpoint of {role!r}" if folder.is_dir() else "no such file or folder"
    hint = "give the --workdir of a run, one of its checkpoints, a file of weights, or a name"
    hint += f" ({', '.join(SHIPPED)})"
    roles = _roles(folder)
    if roles:
        known = list(dict.fromkeys(name for pair in roles.items() for name in pair))
        hint = f"there is '{folder}:{known[0]}' (all: {', '.join(known)})"
        raise UserError(f"{folder}: {what}; {hint}{suggest(role, known)}")
    raise UserError(f"{folder}: {what}; {hint}{suggest(str(path), list(SHIPPED))}")


def _roles(workdir: Path) -> dict[str, str]:
    """Returns the network that each phase of a run trains, of those with a checkpoint, in order."""
    found = []
    root = checkpoint.phase_folder(workdir, "")
    for folder in root.iterdir() if root.is_dir() else ():
        steps = checkpoint.steps(folder)
        if not steps:
            continue
        number, network = 0, folder.name
        if folder.name in OLD_PHASES:
            number = OLD_PHASES.index(folder.name)
            network = "teacher" if folder.name == "teacher" else "student"
        # What is damaged or strange says nothing: its phase can be named all the same.
        for step in reversed(steps):
            with contextlib.suppress(AttributeError, OverflowError, TypeError, ValueError):
                facts = checkpoint.meta(folder / str(step))
                number = int(facts.get("number", number))
                network = str(facts.get("network", network))
                break
        found.append((number, folder.name, network))
    return {phase: network for _, phase, network in sorted(found, key=lambda row: row[:2])}


def _newest(workdir: Path, role: str) -> Path | None:
    """Returns the newest whole checkpoint of a phase, or of the last phase of a network."""
    roles = _roles(workdir)
    phases = [role] if role in roles else [p for p, network in roles.items() if network == role]
    for phase in reversed(phases):
        folder = checkpoint.phase_folder(workdir, phase)
        newest = checkpoint.newest(folder, log.warning)
        if newest is not None:
            return folder / str(newest)
    return None


def _is_checkpoint(folder: Path) -> bool:
    return (folder / "meta.json").is_file()


def _split(path: str) -> tuple[Path, list[str]]:
    """Returns a path and the words after it: "runs/kd:teacher:raw" gives teacher and raw."""
    words: list[str] = []
    while ":" in path and not Path(path).exists():
        path, _, word = path.rpartition(":")
        words.insert(0, word)
    return Path(path), words


def _load_checkpoint(folder: Path, ema: bool) -> Model:
    checkpoint.verify(folder)
    try:
        facts = checkpoint.meta(folder)
        # Before version 0.2 there was one network of parameters in a checkpoint.
        raw = "params" if "params" in facts.get("items", ()) else "generator.params"
        item, spec = "ema" if ema else raw, facts["model"]
        _, shapes = foreign.described(
            spec["name"], spec["kwargs"], spec["scale"], checkpoint.entries(folder, item)
        )
    except (LookupError, TypeError, ValueError) as error:
        if isinstance(error, UserError) and str(folder) in str(error):
            raise
        raise UserError(f"{folder / 'meta.json'}: describes no network here ({error})") from None
    # They say what is wanted, and take no memory.
    target = jax.tree.map(lambda leaf: np.broadcast_to(leaf.dtype.type(0), leaf.shape), shapes)
    params = checkpoint.load(folder, {item: target})[item]
    about = {
        "source": f"a run of kdgan_jax, phase {folder.parent.name}, step {folder.name}, {item}",
        "sha256": sha256(folder / checkpoint.MANIFEST),
    }
    return Model(spec["name"], spec["kwargs"], spec["scale"], params, about)
