"""Measures upscalers on photos: one row of figures per model and set."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from kdgan_jax.baselines.interpolation import BASELINES
from kdgan_jax.evaluation.metrics import METRICS
from kdgan_jax.inference import costs
from kdgan_jax.inference.ensemble import quantise, self_ensemble
from kdgan_jax.inference.model import Model
from kdgan_jax.inference.reduced import Reduced
from kdgan_jax.runtime.errors import UserError

Rows = list[dict[str, Any]]  # of a table: per model and set, or per model, set and image
LEAST_RUNS = 5  # of a set's first image, so that seconds never depend on a single run
HR = "HR"  # the name of a photo's own reference; others have the name of a model


class Example(NamedTuple):
    """A decoded photo, and the image that models' images are compared with.

    Attributes:
      name: of the photo.
      reference: HR, or what another model makes of LR: (H, W, 3) uint8.
      lr: (H / scale, W / scale, 3) uint8.
      reference_name: `HR`, or the name of that model.
    """

    name: str
    reference: np.ndarray
    lr: np.ndarray
    reference_name: str = HR


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

    def upscale(self, image: np.ndarray) -> np.ndarray:
        """Returns `image` (h, w, 3) enlarged, both uint8."""

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Returns what `upscale` rounds, float32 with 1 for white."""


@dataclass(frozen=True)
class Upscaler:
    """A function to measure, with its name and costs.

    Attributes:
      name: in tables and pictures.
      upscale: maps LR (h, w, 3) to SR, both uint8.
      parameters: number of trained numbers.
      multi_adds: multiply-accumulates for a 1280x720 output; None if they are not counted.
      digest: returns a hash of all that its results depend on; called only to store them.
    """

    name: str
    upscale: Callable[[np.ndarray], np.ndarray]
    parameters: int
    multi_adds: int | None
    digest: Callable[[], str] = lambda: ""


def from_model(name: str, model: Trained) -> Upscaler:
    """Returns a trained model as an upscaler."""
    multi_adds = None
    if isinstance(model, Model):
        multi_adds = costs.multi_adds_720p(model)
    elif isinstance(model, Reduced):  # before its image is reduced, it is larger
        multi_adds = costs.multi_adds_720p(model.model) * (model.model.scale // model.scale) ** 2
    return Upscaler(name, model.upscale, model.parameters, multi_adds, lambda: model.digest)


def from_ensemble(name: str, model: Trained) -> Upscaler:
    """Returns a trained model with self-ensemble as an upscaler, at eight times the cost."""
    plain = from_model(name, model)
    return Upscaler(
        name,
        lambda lr: quantise(self_ensemble(model.predict, lr)),
        plain.parameters,
        None if plain.multi_adds is None else 8 * plain.multi_adds,
        lambda: f"{model.digest}+",
    )


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


def title(row: Mapping[str, Any]) -> str:
    """Returns the name of a row's set, with the model that it is compared with if that is not HR.

    Rows of one set to two references have two titles.
    """
    is_truth = row["reference"] == HR
    return str(row["dataset"]) if is_truth else f"{row['dataset']}, to {row['reference']}"


def _timed(upscaler: Upscaler, lr: np.ndarray, runs: int) -> tuple[np.ndarray, float]:
    """Returns SR and the median of its seconds."""
    seconds = []
    for _ in range(runs):
        begin = time.perf_counter()
        sr = upscaler.upscale(lr)
        seconds.append(time.perf_counter() - begin)
    return sr, float(np.median(seconds))


def measure(
    upscalers: Sequence[Upscaler],
    examples: Iterable[Example],
    *,
    dataset: str,
    scale: int,
    metrics: Sequence[str] = tuple(METRICS),
    on_image: Callable[[str], None] = lambda name: None,
) -> tuple[Rows, Rows]:
    """Returns (rows per model, rows per model and image); see `images` and `means`."""
    rows = images(
        upscalers, examples, dataset=dataset, scale=scale, metrics=metrics, on_image=on_image
    )
    return means(upscalers, rows, scale), rows


def images(
    upscalers: Sequence[Upscaler],
    examples: Iterable[Example],
    *,
    dataset: str,
    scale: int,
    metrics: Sequence[str] = tuple(METRICS),
    on_image: Callable[[str], None] = lambda name: None,
) -> Rows:
    """Returns a row per image and model, image after image.

    Examples are consumed one at a time. The first image is run `LEAST_RUNS` times, and its seconds
    are the median; each new size is run once before, so that compilation is not timed.

    Args:
      upscalers: the models.
      examples: the set.
      dataset: its name, for the rows.
      scale: reference over LR; also the width of the border that is cut off.
      metrics: names in `METRICS`; the others are None in the rows.
      on_image: called with the model's name after every model and image.

    Raises:
      UserError: an image cannot be read or measured; names it.
    """
    per_image: Rows = []
    seen: set[tuple[int, ...]] = set()
    for example in examples:
        for upscaler in upscalers:
            if example.lr.shape not in seen:
                upscaler.upscale(example.lr)
            sr, seconds = _timed(upscaler, example.lr, 1 if seen else LEAST_RUNS)
            try:
                figures = {name: METRICS[name](sr, example.reference, scale) for name in metrics}
            except UserError as error:
                raise UserError(f"{dataset}/{example.name}: {error}") from None
            per_image.append(
                {
                    "model": upscaler.name,
                    "dataset": dataset,
                    "reference": example.reference_name,
                    "image": example.name,
                    **{name: figures.get(name) for name in METRICS},
                    "seconds": seconds,
                }
            )
            on_image(upscaler.name)
        seen.add(example.lr.shape)
    return per_image


def means(upscalers: Sequence[Upscaler], per_image: Rows, scale: int) -> Rows:
    """Returns a row per model: the means of its rows of `images`, the median of its seconds."""
    rows = []
    for upscaler in upscalers:
        model_rows = [row for row in per_image if row["model"] == upscaler.name]
        measured = [name for name in METRICS if model_rows[0][name] is not None]
        figures = {name: float(np.mean([row[name] for row in model_rows])) for name in measured}
        rows.append(
            {
                "model": upscaler.name,
                "dataset": model_rows[0]["dataset"],
                "reference": model_rows[0]["reference"],
                "scale": scale,
                "images": len(model_rows),
                **{name: figures.get(name) for name in METRICS},
                "params": upscaler.parameters,
                "multi_adds_720p": upscaler.multi_adds,
                "seconds_per_image": float(np.median([row["seconds"] for row in model_rows])),
            }
        )
    return rows
