"""What a run is given, looked at before hours are spent: photos, a teacher, networks."""

from pathlib import Path
from typing import Any

from kdgan_jax.data import photos as sources
from kdgan_jax.data.buffers import Buffers
from kdgan_jax.errors import UserError
from kdgan_jax.io import files
from kdgan_jax.train import loop
from kdgan_jax.zoo import foreign
from kdgan_jax.zoo.load import load
from kdgan_jax.zoo.model import Model


def check_networks(config: Any) -> None:
    """Checks that the networks to be trained can be loaded again.

    Raises:
      UserError: one is beyond what is read from files.
    """
    for name in "teacher", "student":
        spec = config[name]
        try:
            foreign.described(spec.name, spec.kwargs.to_dict(), config.scale)
        except ValueError as error:
            raise UserError(f"config.{name}: {error}") from None


def photos(config: Any, patch: int) -> tuple[Buffers | None, sources.Photos]:
    """Returns the run's photos, and those to train on decoded, if a file has them so.

    Args:
      config: of the run.
      patch: side of the largest HR patch; what is smaller is left out.
    """
    if not config.data.prepared:
        return None, sources.gather(config.data, config.scale, patch)
    from kdgan_jax.data import prepared

    return prepared.open_for(config.data, config.scale, patch)


def listed(chosen: sources.Photos) -> dict[str, Any]:
    """Returns which photos a run has, for its `photos.json`."""
    return {
        side: [[photo.name, *photo.size] for photo in some]
        for side, some in chosen._asdict().items()
    }


def same_photos(path: Path, ours: dict[str, Any]) -> None:
    """Records the photos of a run at its first start; later they must be the same.

    Raises:
      UserError: they are others, so batches and held-out photos would be, too.
    """
    if path.is_file():
        try:
            saved = {side: list(files.read_json(path)[side]) for side in ours}
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: does not say which photos the run has ({error!r}); bring it back, or"
                " choose another --workdir"
            ) from None
        for side in ours:
            changed = [row for row in ours[side] if row not in saved[side]]
            changed += [row for row in saved[side] if row not in ours[side]]
            if not changed:  # the order counts, too
                pairs = zip(ours[side], saved[side], strict=True)
                changed = [row for row, other in pairs if row != other]
            if changed:
                raise UserError(
                    f"{path}: the photos have changed since the run was started ({len(changed)}"
                    f" of {side!r}, such as {changed[0][0]!r}); bring them back, or choose another"
                    " --workdir"
                )
    files.write_json(path, ours)


def teacher(config: Any, workdir: Path) -> Model | None:
    """Returns the teacher that the config names a checkpoint of, unless the run has it already.

    Raises:
      UserError: it cannot be used, or is another one than the run has taken over.
    """
    if not config.teacher.checkpoint:
        return None
    if loop.finished(workdir, "teacher", config.train.teacher.steps):
        _refuse_other_teacher(config, workdir)
        return None
    given = load(config.teacher.checkpoint, "teacher", scale=config.scale)
    if given.scale != config.scale:
        raise UserError(
            f"config.teacher.checkpoint={config.teacher.checkpoint!r} is of scale {given.scale},"
            f" config.scale is {config.scale}; choose a teacher of the student's scale"
        )
    return given


def _refuse_other_teacher(config: Any, workdir: Path) -> None:
    """Raises a UserError if the teacher's file is there and is not the one that was taken over."""
    try:
        given = load(config.teacher.checkpoint, "teacher", scale=config.scale)
    except UserError:
        return  # gone: the run has its own copy
    if given.digest != load(workdir, "teacher").digest:
        raise UserError(
            f"config.teacher.checkpoint={config.teacher.checkpoint!r} has changed since {workdir}"
            " took it over; bring it back, or choose another --workdir"
        )
