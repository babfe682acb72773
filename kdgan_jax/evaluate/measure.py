"""Measuring upscalers on photos: one row of figures per model and set."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from kdgan_jax.evaluate.baselines import BASELINES
from kdgan_jax.evaluate.metrics import METRICS
from kdgan_jax.zoo.model import Model


class Example(NamedTuple):
    """One photo to be measured on: HR (H, W, 3) and LR (H / scale, W / scale, 3), uint8."""

    name: str
    hr: np.ndarray
    lr: np.ndarray


@dataclass(frozen=True)
class Upscaler:
    """What is measured: a name, a function from LR to SR (uint8), a number of parameters."""

    name: str
    upscale: Callable[[np.ndarray], np.ndarray]
    parameters: int


def from_model(name: str, model: Model) -> Upscaler:
    """Returns a trained model as an upscaler."""
    return Upscaler(name, model.upscale, model.parameters)


def from_baseline(name: str, scale: int) -> Upscaler:
    """Returns the entry `name` of `BASELINES` as an upscaler."""
    return Upscaler(name, lambda lr: BASELINES[name](lr, scale), 0)


def measure(
    upscalers: Iterable[Upscaler],
    examples: Iterable[Example],
    *,
    dataset: str,
    scale: int,
    on_image: Callable[[], None] = lambda: None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Returns (rows per model, rows per model and image).

    Examples are taken one at a time and not kept. Seconds are the median over images; a model's
    first image of each size goes through once before, so that no compilation is timed.

    Args:
      upscalers: the models.
      examples: the set.
      dataset: its name, for the rows.
      scale: HR over LR; also the border that is cut off.
      on_image: called after every model and image.
    """
    upscalers = list(upscalers)
    per_image: list[dict[str, Any]] = []
    seen: set[tuple[int, ...]] = set()
    for example in examples:
        for upscaler in upscalers:
            if example.lr.shape not in seen:
                upscaler.upscale(example.lr)
            begin = time.perf_counter()
            sr = upscaler.upscale(example.lr)
            seconds = time.perf_counter() - begin
            figures = {name: metric(sr, example.hr, scale) for name, metric in METRICS.items()}
            per_image.append(
                {
                    "model": upscaler.name,
                    "dataset": dataset,
                    "image": example.name,
                    **figures,
                    "seconds": seconds,
                }
            )
            on_image()
        seen.add(example.lr.shape)
    rows = []
    for upscaler in upscalers:
        own = [row for row in per_image if row["model"] == upscaler.name]
        rows.append(
            {
                "model": upscaler.name,
                "dataset": dataset,
                "scale": scale,
                "images": len(own),
                **{name: float(np.mean([row[name] for row in own])) for name in METRICS},
                "params": upscaler.parameters,
                "seconds_per_image": float(np.median([row["seconds"] for row in own])),
            }
        )
    return rows, per_image
