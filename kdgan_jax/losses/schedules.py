"""Schedules of a loss's weight: functions from a step (int32) to a factor (float32).

Every phase counts its steps from 0.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array


@dataclass(frozen=True)
class Constant:
    """1 at every step."""

    def __call__(self, step: Array) -> float:
        """Returns 1."""
        return 1.0


@dataclass(frozen=True)
class Linear:
    """From `first` at step `begin` to `last` at step `end`, along a straight line."""

    first: float = 0.0
    last: float = 1.0
    begin: int = 0
    end: int = 1000

    def __call__(self, step: Array) -> Array:
        """Returns the factor at `step`."""
        return self.first + (self.last - self.first) * _progress(step, self.begin, self.end)


@dataclass(frozen=True)
class Cosine:
    """From `first` at step `begin` to `last` at step `end`, along half a cosine."""

    first: float = 1.0
    last: float = 0.0
    begin: int = 0
    end: int = 1000

    def __call__(self, step: Array) -> Array:
        """Returns the factor at `step`."""
        share = (1 + jnp.cos(jnp.pi * _progress(step, self.begin, self.end))) / 2
        return self.last + (self.first - self.last) * share


@dataclass(frozen=True)
class Between:
    """1 from step `begin` until before step `end`, else 0; with `end` -1 it never ends."""

    begin: int = 0
    end: int = -1

    def __call__(self, step: Array) -> Array:
        """Returns the factor at `step`."""
        not_ended = jnp.asarray(True) if self.end < 0 else step < self.end
        return ((step >= self.begin) & not_ended).astype(jnp.float32)


def _progress(step: Array, begin: int, end: int) -> Array:
    """Returns the fraction of the way from `begin` to `end`, from 0 to 1."""
    return jnp.clip((step - begin) / max(1, end - begin), 0, 1)
