"""Measures upscalers on photos: one row of figures per model and set.

Photos are measured in parallel; the seconds are taken afterwards, while nothing else runs.
"""

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from kdgan_jax.baselines.interpolation import BASELINES
from kdgan_jax.evaluation.metrics import DEFAULT, METRICS, figures
from kdgan_jax.inference import costs, engines
from kdgan_jax.inference.ensemble import quantise, self_ensemble
from kdgan_jax.inference.model import Model
from kdgan_jax.inference.reduced import Reduced
from kdgan_jax.pictures import bicubic
from kdgan_jax.runtime import devices
from kdgan_jax.runtime.errors import UserError

Item = TypeVar("Item")
Rows = list[dict[str, Any]]  # of a table: per model and set, or per model, set and image
LEAST_RUNS = 5  # of the image that is timed, so that seconds never depend on a single run
MOST_AT_ONCE = 4  # photos in work, which bounds memory
LARGE = 2**22  # pixels of the reference; a photo with more is measured alone, for the same reason
HR = "HR"  # the name of a photo's own reference; others have the name of a model


class Example(NamedTuple):
    """A decoded photo, and the image that models' images are compared with.

    Attributes:
      name: of the photo.
      reference: HR, or what another model makes of LR: (H, W, 3) uint8. Where models' images are
        compared with none, LR enlarged, to be shown in its place.
      lr: (H / scale, W / scale, 3) uint8.
      reference_name: `HR`, the name of that model, or None if there is no reference.
    """

    name: str
    reference: np.ndarray
    lr: np.ndarray
    reference_name: str | None = HR


class Trained(Protocol):
    """A trained upscaler: `inference.model.Model` or `baselines.random_forest.Forest`."""

    @property
    def scale(self) -> int:
        """Its enlargement."""

    @property
    def parameters(self) -> int:
        """Number of trained numbers."""

    @property
    def digest(self) -> str:
        """A hash of its architecture and weights."""

    def raw(self, image: np.ndarray) -> np.ndarray:
        """Returns `image` (h, w, 3) enlarged, both uint8, as it is measured."""

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Returns what `raw` rounds, float32 with 1 for white."""


@dataclass(frozen=True)
class Upscaler:
    """A function to measure, with its name and costs.

    Attributes:
      name: in tables and pictures.
      upscale: maps LR (h, w, 3) to SR, both uint8.
      parameters: number of trained numbers.
      multi_adds: multiply-accumulates for a 1280x720 output; None if they are not counted.
      digest: returns a hash of all that its results depend on; called only to store them.
      path: where it is, if its name does not say that.
      only: the only metrics that are measured, None for all that are asked for.
      engine: what runs it, one of `engines.NAMES`; "" for what is no network.
    """

    name: str
    upscale: Callable[[np.ndarray], np.ndarray]
    parameters: int
    multi_adds: int | None
    digest: Callable[[], str] = lambda: ""
    path: str = ""
    only: Sequence[str] | None = None
    engine: str = ""


# Keeps what is made of a photo: called with it, images by model, and its rows.
Keep = Callable[[Example, Mapping[str, np.ndarray], Rows], None]


def from_model(name: str, model: Trained) -> Upscaler:
    """Returns a trained model as an upscaler."""
    multi_adds, engine = None, ""
    if isinstance(model, Model):
        multi_adds, engine = costs.multi_adds_720p(model), model.runs_on
    elif isinstance(model, Reduced):  # before its image is reduced, it is larger
        multi_adds = costs.multi_adds_720p(model.model) * (model.model.scale // model.scale) ** 2
        engine = model.model.runs_on
    # Figures by JAX have the model's digest alone, as before there was another engine.
    by = "" if engine in ("", engines.JAX) else f" by {engine}"
    return Upscaler(
        name,
        model.raw,
        model.parameters,
        multi_adds,
        lambda: model.digest + by,
        engine=engine,
    )


def from_ensemble(name: str, model: Trained) -> Upscaler:
    """Returns a trained model with self-ensemble as an upscaler, at eight times the cost."""
    plain = from_model(name, model)
    return Upscaler(
        name,
        lambda lr: quantise(self_ensemble(model.predict, lr)),
        plain.parameters,
        None if plain.multi_adds is None else 8 * plain.multi_adds,
        lambda: f"{plain.digest()}+",
        engine=plain.engine,
    )


def engine(upscalers: Sequence[Upscaler]) -> str:
    """Returns what ran the networks; of several engines, which ran which; "" without networks."""
    ran: dict[str, list[str]] = {}
    for upscaler in upscalers:
        if upscaler.engine:
            ran.setdefault(engines.described(upscaler.engine), []).append(upscaler.name)
    if len(ran) < 2:
        return "".join(ran)
    return ", ".join(f"{name} ({', '.join(models)})" for name, models in ran.items())


def from_baseline(name: str, scale: int) -> Upscaler:
    """Returns the entry `name` of `BASELINES` as an upscaler."""
    return Upscaler(name, lambda lr: BASELINES[name](lr, scale), 0, 0, lambda: name)


def referred(name: str, lr: np.ndarray, teacher: Upscaler) -> Example:
    """Returns the photo `name` with the image that `teacher` makes of `lr` as its reference.

    Args:
      name: of the photo.
      lr: (h, w, 3) uint8.
      teacher: names the reference, too.

    Raises:
      UserError: LR is too small for the teacher; names the photo.
    """
    try:
        return Example(name, teacher.upscale(lr), lr, teacher.name)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


def alone(name: str, lr: np.ndarray, scale: int) -> Example:
    """Returns the photo `name` without a reference, for metrics that need none."""
    return Example(name, bicubic.upscale(lr, scale), lr, None)


def title(row: Mapping[str, Any]) -> str:
    """Returns the name of a row's set, with the model that it is compared with, if it is.

    Rows of one set to two references have two titles.
    """
    is_model = row["reference"] not in (HR, None)
    return f"{row['dataset']}, to {row['reference']}" if is_model else str(row["dataset"])


def measure(
    upscalers: Sequence[Upscaler],
    examples: Iterable[Example],
    *,
    dataset: str,
    scale: int,
    metrics: Sequence[str] = DEFAULT,
    timed: str | None = None,
    on_image: Callable[[str], None] = lambda name: None,
    keep: Keep = lambda example, pictures, rows: None,
) -> tuple[Rows, Rows]:
    """Returns (rows per model, rows per model and image); see `images` and `means`."""
    rows = images(
        upscalers,
        examples,
        dataset=dataset,
        scale=scale,
        metrics=metrics,
        timed=timed,
        on_image=on_image,
        keep=keep,
    )
    return means(upscalers, rows, scale), rows


def images(
    upscalers: Sequence[Upscaler],
    examples: Iterable[Example],
    *,
    dataset: str,
    scale: int,
    metrics: Sequence[str] = DEFAULT,
    timed: str | None = None,
    on_image: Callable[[str], None] = lambda name: None,
    keep: Keep = lambda example, pictures, rows: None,
) -> Rows:
    """Returns a row per image and model, image after image.

    Examples are drawn while earlier ones are measured; few of them exist at a time. At the end, one
    image is run `LEAST_RUNS` times, and the median is its seconds; those of others are None.

    Args:
      upscalers: the models.
      examples: the set.
      dataset: its name, for the rows.
      scale: reference over LR; also the width of the border that is cut off.
      metrics: names in `METRICS`; the others are None in the rows.
      timed: name of the image whose seconds are taken; None for the one of middle size, or the
        first where examples are no sequence.
      on_image: called with the model's name after every model and image.
      keep: called with every example, the models' images of it by name, and its rows, by any
        thread.

    Raises:
      UserError: an image cannot be read or measured; names it.
    """
    lock = threading.Lock()
    if timed is None and isinstance(examples, Sequence) and examples:
        timed = middle(examples, lambda example: example.lr.shape[:2]).name

    def measured(example: Example) -> Rows:
        pictures = {}
        try:
            for upscaler in upscalers:
                pictures[upscaler.name] = upscaler.upscale(example.lr)
                with lock:
                    on_image(upscaler.name)
            values = _figures(upscalers, pictures, example.reference, scale, metrics)
        except UserError as error:
            raise UserError(f"{dataset}/{example.name}: {error}") from None
        rows: Rows = [
            {
                "model": upscaler.name,
                "dataset": dataset,
                "reference": example.reference_name,
                "image": example.name,
                **{name: row.get(name) for name in METRICS},
                "seconds": None,
            }
            for upscaler, row in zip(upscalers, values, strict=True)
        ]
        keep(example, pictures, rows)
        return rows

    clock: list[Example] = []  # the example to time

    def drawn() -> Iterator[Example]:
        for example in examples:
            if not clock or example.name == timed:
                clock[:] = [example]
            yield example

    per_image = [row for rows in _in_parallel(measured, drawn()) for row in rows]
    for example in clock:
        seconds = {
            upscaler.name: costs.median_seconds(partial(upscaler.upscale, example.lr), LEAST_RUNS)
            for upscaler in upscalers
        }
        for row in per_image:
            if row["image"] == example.name:
                row["seconds"] = seconds[row["model"]]
    return per_image


def middle(items: Sequence[Item], size: Callable[[Item], tuple[int, ...]]) -> Item:
    """Returns the item of middle size, given the size of one: (height, width)."""
    return sorted(items, key=lambda item: math.prod(size(item)))[len(items) // 2]


def _figures(
    upscalers: Sequence[Upscaler],
    pictures: Mapping[str, np.ndarray],
    reference: np.ndarray,
    scale: int,
    metrics: Sequence[str],
) -> list[dict[str, float]]:
    """Returns the metrics of each upscaler's image of one photo."""
    all_asked_for = [pictures[u.name] for u in upscalers if u.only is None]
    rows = iter(figures(all_asked_for, reference, scale, metrics))
    return [
        next(rows) if u.only is None else figures([pictures[u.name]], reference, scale, u.only)[0]
        for u in upscalers
    ]


def _in_parallel(
    measured: Callable[[Example], Rows], examples: Iterable[Example]
) -> Iterator[Rows]:
    """Yields measured(example) of each example, in order, using threads.

    The first is alone, since threads would compile the same program twice. Large ones are, too.
    """
    threads = min(MOST_AT_ONCE, devices.cores())
    ahead: deque[Future[Rows]] = deque()
    first = True
    with ThreadPoolExecutor(threads) as pool:
        try:
            for example in examples:
                height, width = example.reference.shape[:2]
                alone = first or height * width > LARGE
                first = False
                while ahead and (alone or len(ahead) > threads):
                    yield ahead.popleft().result()
                if alone:
                    yield measured(example)
                else:
                    ahead.append(pool.submit(measured, example))
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


def means(upscalers: Sequence[Upscaler], per_image: Rows, scale: int) -> Rows:
    """Returns a row per model: the means of its rows of `images`, the seconds that some have."""
    rows = []
    for upscaler in upscalers:
        model_rows = [row for row in per_image if row["model"] == upscaler.name]
        measured = [name for name in METRICS if model_rows[0][name] is not None]
        mean = {name: float(np.mean([row[name] for row in model_rows])) for name in measured}
        seconds = [row["seconds"] for row in model_rows if row["seconds"] is not None]
        rows.append(
            {
                "model": upscaler.name,
                "dataset": model_rows[0]["dataset"],
                "reference": model_rows[0]["reference"],
                "scale": scale,
                "images": len(model_rows),
                **{name: mean.get(name) for name in METRICS},
                "params": upscaler.parameters,
                "multi_adds_720p": upscaler.multi_adds,
                "seconds_per_image": float(np.median(seconds)),
            }
        )
    return rows
