"""Models from paths: runs and their checkpoints, our own files, and what others have published.

A few small ones come with the package and go by name.
"""

from pathlib import Path

import jax
import numpy as np

from kdgan_jax.config import PHASES
from kdgan_jax.errors import UserError, pick, suggest
from kdgan_jax.io import checkpoint
from kdgan_jax.io.files import sha256
from kdgan_jax.io.logs import log
from kdgan_jax.zoo import foreign, imported, native, origin
from kdgan_jax.zoo.model import Model

ROLES = ("student", *PHASES)
WEIGHTS = "ema", "raw"
# Students that come with the package, by name.
SHIPPED = {p.stem: p for p in sorted((Path(__file__).parents[1] / "weights").glob("*.safetensors"))}


def load(
    path: str | Path, role: str = "student", *, ema: bool = True, scale: int | None = None
) -> Model:
    """Returns the trained model at `path`, on the host; it runs on whatever device is there.

    Args:
      path: a name of `SHIPPED`, the workdir of a run (`runs/kd`), one of its checkpoints
        (`runs/kd/checkpoints/distill/1500`), the origin's SavedModel, a file of our own
        (`.safetensors`), or a published one (`imported.READERS`).
      role: of a workdir: "student" is the newest student there is, "distill" the one before the
        adversarial phase, "adversarial" the one after it, "teacher" the teacher.
      ema: the averaged weights, which are those evaluated; False gives the raw ones.
      scale: for published files that serve several scales.

    A path may name both itself: "runs/kd:teacher", "runs/kd:raw", "runs/kd:teacher:raw".

    Raises:
      UserError: there is no such path, role or checkpoint, or the checkpoint is damaged.
    """
    folder, words = _split(str(path))
    for word in words:
        if word in WEIGHTS:
            ema = word == "ema"
        else:
            pick(dict.fromkeys((*ROLES, *WEIGHTS)), word, f"role in {str(path)!r}")
            role = word
    if words and (folder.is_file() or origin.is_origin(folder) or _is_checkpoint(folder)):
        known = WEIGHTS if _is_checkpoint(folder) else ()
        for word in words:
            if word not in known:
                raise UserError(f"{path}: {folder} is a single model; leave out {':' + word!r}")
    if str(path) in SHIPPED and not folder.exists():
        return native.load(SHIPPED[str(path)])
    if imported.is_foreign(folder):
        return imported.load(folder, scale=scale)
    if folder.is_file():
        return native.load(folder)
    if origin.is_origin(folder):
        return origin.load(folder)
    if _is_checkpoint(folder):
        return _load_checkpoint(folder, ema)
    pick(dict.fromkeys(ROLES), role, "role")
    for phase in ("adversarial", "distill") if role == "student" else (role,):
        checkpoints = checkpoint.phase_folder(folder, phase)
        found = checkpoint.newest(checkpoints, log.warning)
        if found is not None:
            return _load_checkpoint(checkpoints / str(found), ema)
    there = [p for p in PHASES if checkpoint.steps(checkpoint.phase_folder(folder, p))]
    what = "no such folder" if not folder.is_dir() else f"holds no checkpoint of {role!r}"
    hint = "give the --workdir of a run, one of its checkpoints, a file of weights, or a name"
    hint += f" ({', '.join(SHIPPED)})"
    if there:
        hint = f"there is '{folder}:{there[0]}'"
    raise UserError(f"{folder}: {what}; {hint}{suggest(str(path), list(SHIPPED))}")


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
        spec = checkpoint.meta(folder)["model"]
        _, shapes = foreign.described(spec["name"], spec["kwargs"], spec["scale"])
    except (LookupError, TypeError, ValueError) as error:
        if isinstance(error, UserError) and str(folder) in str(error):
            raise
        raise UserError(f"{folder / 'meta.json'}: describes no network here ({error})") from None
    # They say what is wanted, and take no memory.
    target = jax.tree.map(lambda leaf: np.broadcast_to(leaf.dtype.type(0), leaf.shape), shapes)
    item = "ema" if ema else "params"
    params = checkpoint.load(folder, {item: target})[item]
    about = {
        "source": f"a run of kdgan_jax, phase {folder.parent.name}, step {folder.name}, {item}",
        "sha256": sha256(folder / checkpoint.MANIFEST),
    }
    return Model(spec["name"], spec["kwargs"], spec["scale"], params, about)
