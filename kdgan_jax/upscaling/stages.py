"""What is done to a picture: it is read, enlarged by each model, and written as it was."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from kdgan_jax.inference import pictures, tiles
from kdgan_jax.inference.model import Model
from kdgan_jax.pictures import codec, lanczos, writing
from kdgan_jax.pictures.picture import Picture
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.upscaling.batch import Frames, Job

ANIMATED = "png", "webp"  # formats that hold several frames
_SIZE = re.compile(r"(?P<width>\d*)[xX](?P<height>\d*)")


class Size(NamedTuple):
    """The size of results: a factor, or pixels, of which one may be None and follows the other."""

    factor: float | None = None
    width: int | None = None
    height: int | None = None

    def of(self, size: tuple[int, int]) -> tuple[int, int]:
        """Returns the (height, width) of the result of a picture of `size` (height, width)."""
        height, width = size
        if self.factor is not None:
            return max(1, round(height * self.factor)), max(1, round(width * self.factor))
        if self.height is None:
            assert self.width is not None
            return max(1, round(height * self.width / width)), self.width
        return self.height, self.width or max(1, round(width * self.height / height))


def size(factor: str | None, pixels: str | None) -> Size | None:
    """Returns the size that -s and --size ask for; None for the network's.

    Raises:
      UserError: they are no sizes, or both are given.
    """
    if factor is not None and pixels is not None:
        raise UserError(f"-s {factor} and --size={pixels} both say the size; leave one out")
    if factor is not None:
        try:
            number = float(factor.lower().strip("x"))
        except ValueError:
            number = 0.0
        if not 0 < number <= 64:
            raise UserError(f"-s {factor} is no factor from above 0 to 64, such as 2 or 2.5")
        return Size(number)
    if pixels is not None:
        match = _SIZE.fullmatch(pixels)
        sides = [int(side) if side else None for side in match.groups()] if match else []
        if not any(sides) or 0 in sides:
            raise UserError(
                f"--size={pixels} is no WIDTHxHEIGHT, such as 1920x1080, 1920x or x1080"
            )
        return Size(None, *sides)
    return None


def tiled(model: Model, side: int, name: str) -> Model:
    """Returns `model`, which cuts pictures into tiles of `side` LR pixels or a little more.

    Args:
      model: the model.
      side: of tiles; the next multiple of a network's grid is taken.
      name: of the model, for messages.

    Raises:
      UserError: the network sees farther than such tiles reach.
    """
    module = model.module
    if not getattr(module, "whole_image", False):
        margin, grid = module.receptive_radius, getattr(module, "grid", 1)
        if side < 2 * margin + grid:
            raise UserError(
                f"--tile={side} is too small for {name}, which sees {margin} pixels to each"
                f" side; give {2 * margin + grid} or more"
            )
    return dataclasses.replace(model, tile=side)


class Network(NamedTuple):
    """A model of a batch.

    Attributes:
      name: for folders, sheets and results.
      model: the model.
    """

    name: str
    model: Model


@dataclasses.dataclass(frozen=True)
class Work:
    """What is done to every picture of a batch: `batch.Stages`.

    Attributes:
      networks: the models.
      options: how results are written; their quality is left out for formats that have none.
      size: of results; None for the network's.
      ensemble: see `pictures.enlarged`.
      keep_colour: see there.
      all_frames: whether all frames of animations are enlarged.
    """

    networks: Sequence[Network]
    options: writing.Options
    size: Size | None = None
    ensemble: bool = False
    keep_colour: bool = False
    all_frames: bool = False

    def pixels(self, source: Path) -> int:
        """Returns the number of pixels of a picture; 0 if it cannot be read."""
        try:
            height, width = codec.size(source)
            return height * width * (codec.frame_count(source) if self.all_frames else 1)
        except UserError:  # reading it will tell
            return 0

    def read(self, source: Path) -> Frames:
        """Returns a decoded picture."""
        if self.all_frames and codec.frame_count(source) > 1:
            return list(codec.frames(source))
        return [(codec.read(source), 0.0)]

    def enlarge(self, model: int, frames: Frames, on_share: Callable[[float], None]) -> Frames:
        """Returns the image of model number `model`; calls `on_share` with the share done."""
        network = self.networks[model].model
        sizes = [picture.pixels.shape[:2] for picture, _ in frames]
        total = sum(sum(1 for _ in tiles.positions(s, network.tiling(s))) for s in sizes)
        done = 0

        def on_tile() -> None:
            nonlocal done
            done += 1
            on_share(min(done / total, 1))

        enlarge = partial(
            pictures.enlarged,
            network,
            on_tile=on_tile,
            ensemble=self.ensemble,
            keep_colour=self.keep_colour,
        )
        return [(self._resized(enlarge(picture), picture), time) for picture, time in frames]

    def _resized(self, enlarged: Picture, picture: Picture) -> Picture:
        if self.size is None:
            return enlarged
        height, width = picture.pixels.shape[:2]
        return lanczos.resized(enlarged, self.size.of((height, width)))

    def _options(self, target: Path, model: Model, name: str) -> writing.Options:
        form = writing.FORMATS[target.suffix.lower()]
        said = f"{name}, x{model.scale}" + (", resized" if self._resizes(model) else "")
        return self.options._replace(
            quality=self.options.quality if form.quality else None,
            made_by={**self.options.made_by, "Model": said},
        )

    def _resizes(self, model: Model) -> bool:
        return self.size is not None and self.size.factor != model.scale

    def write(self, model: int, target: Path, frames: Frames) -> Callable[[Path], None]:
        """Encodes a result for `target`, and returns what writes it to a path.

        Raises:
          UserError: the format cannot hold it.
        """
        name, network = self.networks[model]
        options = self._options(target, network, name)
        first = frames[0][0]
        form = writing.check(target, options, first.pixels.shape[:2])
        if len(frames) == 1:
            data = writing.encode(first, form, options)
            return lambda path: _put(path, data)
        if target.suffix[1:].lower() not in ANIMATED:
            raise UserError(f"{target}: {form.name} has no animations; choose PNG or WebP")
        return lambda path: writing.write_frames(path, frames, options)

    def draw(self, job: Job, frames: Frames, results: Mapping[int, Frames], path: Path) -> None:
        """Draws the comparison sheet of a job as `path`; results that are not given are there."""
        from kdgan_jax.upscaling import sheet  # needs Matplotlib

        images = {
            network.name: (results[i][0][0] if i in results else codec.read(job.targets[i])).pixels
            for i, network in enumerate(self.networks)
        }
        sheet.draw(path, job.source.name, frames[0][0].pixels, images)


def _put(path: Path, data: bytes) -> None:
    path.write_bytes(data)
