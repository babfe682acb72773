"""Models by path: runs and their checkpoints, the package's own files, and published weights.

A few small networks come with the package and have names: students that this package has trained,
and a published network to restore real photos or to teach.
"""

import contextlib
import os
import re
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from kdgan_jax.formats import foreign, imported, native, origin
from kdgan_jax.formats.reading import check_finite
from kdgan_jax.inference import engines, mix
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime import devices
from kdgan_jax.runtime.console import log
from kdgan_jax.runtime.errors import UserError, suggest
from kdgan_jax.runtime.files import sha256
from kdgan_jax.workdir import archive, checkpoint

WEIGHTS, BEST = ("ema", "raw"), "best"
SOFT = "soft"  # the entry of a card that names the model from which a refined one starts
# Phases of runs before version 0.2, whose checkpoints do not name their network.
OLD_PHASES = "teacher", "distill", "adversarial"
_ON_DRIVE = re.compile(r"[A-Za-z]:[\\/][^:]*")  # a path of Windows
# Networks that come with the package, by name.
DEFAULT = "photo_x4"  # of `upscale`: for real photos
# Names of earlier versions, which warn; they go with version 0.4.
FORMER = {"student_x4": "clean_x4", "student_gan_x4": "clean_gan_x4"}
SHIPPED = {p.stem: p for p in sorted((Path(__file__).parents[1] / "weights").glob("*.safetensors"))}


def list_models() -> list[str]:
    """Returns the names of the models that come with the package, for `load`."""
    return list(SHIPPED)


def load(
    path: str | Path,
    role: str = "student",
    *,
    ema: bool = True,
    scale: int | None = None,
    fold: bool = True,
    strength: float | None = None,
    engine: str = engines.AUTO,
) -> Model:
    """Returns the trained model at `path`, with its weights on the host.

    The path may end in the role, the weights, or both: "runs/kd:control", "runs/kd:raw",
    "runs/kd:control:raw". With "best" in place of the weights, the checkpoint is not the newest one
    but the one that did best on the held-out photos. For a published file with several networks,
    the role is the place of one: "checkpoint.pth:net_g". "A+B@0.3" is the mean of the weights of
    two models of one architecture, of which B counts 0.3.

    Args:
      path: a name of `SHIPPED`, the workdir of a run (`runs/kd`) or a zip of it (`runs/kd.zip`),
        one of its checkpoints (`runs/kd/checkpoints/distill/1500`), the origin's SavedModel, a file
        of the package's own format (`.safetensors`), or a published one (`imported.READERS`).
      role: for a workdir, a network ("student") or a phase ("distill"). A network's model is that
        of the last phase that trains it and has a checkpoint. A name of both stands for the
        network here, and for the phase in the path.
      ema: whether to take the averaged weights, which evaluation uses, or the raw ones.
      scale: that the model must have; files that serve several scales are read for it.
      fold: whether to fold a network whose branches are for training only.
      strength: from 0, the soft model that a refined one starts from, to 1, the refined one; for
        files whose card names the soft one (`SOFT`).
      engine: what runs it: "onnxruntime", "jax", or "auto" (`engines`).

    Raises:
      UserError: the path, the role or a checkpoint does not exist, the file is damaged, weights are
        not finite, models do not fit together, or the scale is another one.
    """
    model = resolve(path, role, ema=ema, scale=scale, fold=fold, engine=engine)
    if scale not in (None, model.scale):
        raise UserError(
            f"{path} enlarges by {model.scale}, not by scale={scale}; leave scale out, or choose"
            " another model"
        )
    return model if strength is None else _at_strength(model, strength, path)


def resolve(
    path: str | Path,
    role: str = "student",
    *,
    ema: bool = True,
    scale: int | None = None,
    fold: bool = True,
    engine: str = engines.AUTO,
) -> Model:
    """Returns what `load` returns, whatever its scale; the arguments are the same."""
    devices.check_platforms()
    if mixed := _mixture(os.path.expanduser(path)):
        first, second, share = mixed
        models = [_loaded(one, role, ema, scale, fold) for one in (first, second)]
        model = mix.average(models, [1 - share, share]).with_about(mixed=str(path))
    else:
        model = _loaded(path, role, ema, scale, fold)
    return replace(model, engine=engines.checked(engine))


def _loaded(path: str | Path, role: str, ema: bool, scale: int | None, fold: bool) -> Model:
    """Returns the single model at `path`; see `load`."""
    path = Path(path).expanduser() if isinstance(path, Path) else os.path.expanduser(path)
    location, words = _split(str(path))
    if archive.is_run(location):
        with archive.unpacked(location) as run:
            return _loaded(":".join([str(run), *words]), role, ema, scale, fold)
    is_checkpoint, is_foreign = _is_checkpoint(location), imported.is_foreign(location)
    is_single = not is_foreign and (location.is_file() or origin.is_origin(location))
    part = next((word for word in words if word not in WEIGHTS), None)
    best = named = False
    for word in words:
        if is_single or (is_checkpoint and word not in WEIGHTS):
            raise UserError(f"{path}: {location} is a single model; leave out {':' + word!r}")
        if word in WEIGHTS:
            ema = word == "ema"
        elif word == BEST:
            best = True
        else:
            role, named = word, True
    name = FORMER.get(str(path), str(path))
    if name in SHIPPED and not location.exists():
        if name != str(path):
            log.warning("%s is now called %s; use that name", path, name)
        return Model.of(native.load(SHIPPED[name]))
    if is_foreign:
        return Model.of(imported.load(location, scale=scale, part=part, averaged=ema))
    if location.is_file():
        return Model.of(native.load(location))
    if origin.is_origin(location):
        return Model.of(origin.load(location))
    if is_checkpoint:
        folder: Path | None = location
    elif checkpoint.steps(location):  # the folder of a phase
        folder = _of_phase(location, best)
    else:
        folder = _folder(location, role, named, best)
    if folder is None:
        raise _not_found(str(path), location, role)
    model = _load_checkpoint(folder, ema)
    return model.folded() if fold else model


def _share(text: str, field: str) -> float:
    """Returns a number from 0 to 1."""
    share = mix.share(text)
    if share is None:
        raise UserError(f"{field}={text} is no number from 0 to 1; 0 gives the first model alone")
    return share


def _mixture(path: str) -> tuple[str, str, float] | None:
    """Returns what "A+B@0.3" names, None for other paths.

    Names may hold a plus sign; the first two that exist count.
    """
    pair, at, share = path.rpartition("@")
    if not at or "+" not in pair or _exists(path):
        return None
    places = [i for i, sign in enumerate(pair) if sign == "+"]
    fit = [i for i in places if _exists(pair[:i]) and _exists(pair[i + 1 :])]
    place = (fit or places)[0]
    return pair[:place], pair[place + 1 :], _share(share, f"{path}: the share of the second model")


def _exists(path: str) -> bool:
    return path in SHIPPED or _split(path)[0].exists()


def _at_strength(model: Model, strength: float, path: str | Path) -> Model:
    """Returns the mean of the weights of `model` and of the soft one that its card names."""
    share = _share(str(strength), f"{path}: strength")
    if SOFT not in model.about:
        raise UserError(
            f"{path}: strength={strength} needs a refined model whose card names the soft one that"
            " it starts from, and this one's does not; leave strength out"
        )
    soft = load(model.about[SOFT])
    return mix.average([soft, model], [1 - share, share]).with_about(strength=f"{share:g}")


def _not_found(path: str, location: Path, role: str) -> UserError:
    """Returns the error that `location` holds no model, with the names that would work."""
    problem = f"holds no checkpoint of {role!r}" if location.is_dir() else "no such file or folder"
    roles = _roles(location)
    if roles:
        names = list(dict.fromkeys(name for pair in roles.items() for name in pair))
        hint = f"give for example '{location}:{names[0]}' (all: {', '.join(names)})"
        return UserError(f"{location}: {problem}; {hint}{suggest(role, names)}")
    hint = "give the --workdir of a run, one of its checkpoints, a file of weights, or a name"
    names = list(SHIPPED)
    return UserError(f"{location}: {problem}; {hint} ({', '.join(names)}){suggest(path, names)}")


def _roles(workdir: Path) -> dict[str, str]:
    """Returns the phases of a run that have checkpoints, in order, and the network of each."""
    phases = []
    root = checkpoint.phase_folder(workdir, "")
    for folder in root.iterdir() if root.is_dir() else ():
        steps = checkpoint.steps(folder)
        if not steps:
            continue
        number, network = 0, folder.name
        if folder.name in OLD_PHASES:
            number = OLD_PHASES.index(folder.name)
            network = "teacher" if folder.name == "teacher" else "student"
        # A phase whose checkpoints are all damaged keeps its own name as that of its network.
        for step in reversed(steps):
            with contextlib.suppress(AttributeError, OverflowError, TypeError, ValueError):
                facts = checkpoint.meta(folder / str(step))
                number = int(facts.get("number", number))
                network = str(facts.get("network", network))
                break
        phases.append((number, folder.name, network))
    return {phase: network for _, phase, network in sorted(phases, key=lambda row: row[:2])}


def _folder(workdir: Path, role: str, named: bool, best: bool) -> Path | None:
    """Returns the newest intact checkpoint of a phase or of a network's last phase, or the best.

    `named` tells whether `role` comes from the path, where it is a phase if there is one.
    """
    roles = _roles(workdir)
    phases = [phase for phase, network in roles.items() if network == role]
    if role in roles and (named or not phases):
        phases = [role]
    for phase in reversed(phases):
        if found := _of_phase(checkpoint.phase_folder(workdir, phase), best):
            return found
    return None


def _of_phase(folder: Path, best: bool) -> Path | None:
    """Returns the newest intact checkpoint in the folder of a phase, or the best."""
    recorded = checkpoint.best(folder) if best else None
    step = recorded[0] if recorded else checkpoint.newest(folder, log.warning)
    return None if step is None else folder / str(step)


def _is_checkpoint(folder: Path) -> bool:
    return (folder / "meta.json").is_file()


def _split(path: str) -> tuple[Path, list[str]]:
    """Returns a path and the words after it: "runs/kd:control:raw" has "control" and "raw"."""
    words: list[str] = []
    while ":" in path and not Path(path).exists() and not _ON_DRIVE.fullmatch(path):
        path, _, word = path.rpartition(":")
        words.insert(0, word)
    return Path(path), words


def _load_checkpoint(folder: Path, ema: bool) -> Model:
    checkpoint.verify(folder)
    try:
        facts = checkpoint.meta(folder)
        # Before version 0.2 a checkpoint held the parameters of one network.
        raw = "params" if "params" in facts.get("items", ()) else "generator.params"
        item, spec = "ema" if ema else raw, facts["model"]
        _, shapes = foreign.described(
            spec["name"], spec["kwargs"], spec["scale"], checkpoint.entries(folder, item)
        )
    except (LookupError, TypeError, ValueError) as error:
        if isinstance(error, UserError) and str(folder) in str(error):
            raise
        raise UserError(
            f"{folder / 'meta.json'}: does not describe a known network ({error}); give another"
            " checkpoint"
        ) from None
    # Arrays of the right shape and dtype that take no memory.
    target = jax.tree.map(lambda leaf: np.broadcast_to(leaf.dtype.type(0), leaf.shape), shapes)
    params = checkpoint.load(folder, {item: target})[item]
    check_finite(folder, native.by_path(params))
    about = {
        "source": f"a run of kdgan_jax, phase {folder.parent.name}, step {folder.name}, {item}",
        "sha256": sha256(folder / checkpoint.MANIFEST),
    }
    return Model(spec["name"], spec["kwargs"], spec["scale"], params, about)
