"""Keeps photos to train on apart from held-out ones: none may show what a held-out one shows.

This is the quick part of `check`, for the start of a run.
"""

import functools
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from kdgan_jax.audit import check, similar
from kdgan_jax.data.holdout import Photos, file_of
from kdgan_jax.data.photos import Photo, pixels
from kdgan_jax.runtime import console
from kdgan_jax.runtime.errors import UserError

File = Path | int  # as `holdout.file_of` tells files apart
NAMED = 10  # photos in a message
AT_ONCE = 4096  # thumbnails that are compared
FLAT = 4  # range of a thumbnail, of 255


def apart(photos: Photos) -> Photos:
    """Returns photos without those to train on that show what a held-out one shows, at any size.

    Whole files tell, so that copies and parts of a file stay on their sides, and a run that is
    resumed gets the same photos. Of two photos that are both divided, the later one leaves both
    sides. The log names what is left out.
    """
    held = {file_of(photo): photo for photo in photos.holdout}
    trained = {file_of(photo): photo for photo in photos.train}
    looks = _looks(held | trained)
    order = {file: number for number, file in enumerate(trained)}
    left_out: dict[File, str] = {}
    of_both: set[File] = set()
    for file, other, how in _alike(
        {file: looks[file] for file in trained if file in looks},
        {file: looks[file] for file in held if file in looks},
    ):
        if file in held and other in trained:  # both are divided
            other, file = sorted((file, other), key=lambda file: order[file])
            of_both.add(file)
        left_out.setdefault(file, f"{_place(trained[file])} {how} {_place(held[other])}")
    if left_out:
        more = len(left_out) - NAMED
        console.log.warning(
            "%d of %d photos leave training, since they show what held-out photos show: %s%s",
            *(len(left_out), len(trained), "; ".join([*left_out.values()][:NAMED])),
            f"; and {more} more" if more > 0 else "",
        )
    return Photos(
        [photo for photo in photos.train if file_of(photo) not in left_out],
        [photo for photo in photos.holdout if file_of(photo) not in of_both],
    )


def _place(photo: Photo) -> str:
    return str(photo.place if isinstance(photo.place, Path) else photo.name)


def _looks(photos: Mapping[File, Photo]) -> dict[File, check.Look]:
    """Returns a look at each file that can be read; others are named when they are decoded."""

    def attempt(photo: Photo) -> check.Look | None:
        image = photo.place
        try:
            if isinstance(image, Path):
                return _look_at(image, image.stat().st_mtime_ns)
            return check.look(image)
        except (UserError, MemoryError, OSError):
            return None

    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        console.progress("comparing", len(photos)) as bar,
    ):
        looks = {}
        for file, look in zip(photos, pool.map(attempt, photos.values()), strict=True):
            bar.advance()
            if look:
                looks[file] = look
        return looks


@functools.lru_cache(maxsize=2**16)  # a run of config.minutes looks twice
def _look_at(path: Path, modified: int) -> check.Look:
    return check.look(pixels(path))


def _alike(
    trained: Mapping[File, check.Look], held: Mapping[File, check.Look]
) -> Iterator[tuple[File, File, str]]:
    """Yields a file to train on, another that is held out, and how they are alike, in words.

    Flat pictures, which show nothing, are like none.
    """
    by_digest = defaultdict(list)
    for file, (digest, thumb) in held.items():
        if np.ptp(thumb) > FLAT:
            by_digest[digest].append(file)
    for file, (digest, _) in trained.items():
        yield from (
            (file, other, "has the same pixels as") for other in by_digest[digest] if other != file
        )
    files, others = list(trained), list(held)
    for start in range(0, len(files) if held else 0, AT_ONCE):
        part = files[start : start + AT_ONCE]
        thumbs = [
            np.stack([of[file][1] for file in f]) for of, f in ((held, others), (trained, part))
        ]
        for match in similar.matches(*thumbs):
            file, other = part[match.second], others[match.first]
            turn = f" ({match.turn})" if match.turn else ""
            if file != other:
                yield file, other, f"is nearly the same picture{turn} as"
