"""The settings of a forest: every field with its default and meaning, and its limits."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ml_collections import ConfigDict

from kdgan_jax.config.settings import DataConfig
from kdgan_jax.models import SCALES
from kdgan_jax.runtime.errors import UserError

DATA_FIELDS = "source", "holdout", "memory_mb", "max_bad_fraction"  # those that a forest uses


@dataclass(frozen=True)
class ForestConfig:
    """A forest and the photos that it is trained on."""

    seed: int = 0  # of the choice of windows and of the trees
    scale: int = 4  # enlargement: 2, 3 or 4
    data: DataConfig = field(default_factory=DataConfig)
    trees: int = 2  # whose predictions are averaged
    leaves: int = 6000  # per tree, at most; each stores (components + 1) * basis numbers
    depth: int = 0  # of a tree, at most; 0 sets no limit
    leaf_samples: int = 50  # windows per leaf, at least, of those that trees grow on
    question_share: float = 1 / 3  # of the questions, which each split tries
    samples: int = 500_000  # windows that trees grow on, at most
    windows: int = 5_000_000  # windows that leaves are fitted to, at most; a million takes 1 GB
    components: int = 40  # principal components of the gradients, which describe a window
    basis: int = 48  # windows whose weighted sums are predictions; (3 * scale)^2 can form any
    ridge: float = 100.0  # penalty on the squared entries of a leaf's linear map, except its bias
    saved: Mapping[str, Any] = field(default_factory=dict)  # the config as JSON values


def default() -> ConfigDict:
    """Returns a config with the defaults of `ForestConfig`."""
    fields = asdict(ForestConfig())
    del fields["saved"]
    config = ConfigDict(fields | {"data": {name: fields["data"][name] for name in DATA_FIELDS}})
    config.lock()
    return config


def checked(config: ConfigDict) -> ForestConfig:
    """Returns the settings of a config; checks every value before any work.

    Raises:
      UserError: names the field, its value, the constraint and what to do.
    """
    fields = config.to_dict()
    settings = ForestConfig(**{**fields, "data": DataConfig(**fields["data"])}, saved=fields)
    if settings.scale not in SCALES:
        raise UserError(f"config.scale={settings.scale} is not supported; choose one of {SCALES}")
    if not settings.data.source:
        raise UserError("config.data.source is empty; name folders, 'tfds:NAME' or 'embedded'")
    limits: dict[str, tuple[float, float]] = {
        "trees": (1, 1000),
        "leaves": (2, 1_000_000),
        "depth": (0, 1000),
        "leaf_samples": (1, settings.samples),
        "samples": (2, settings.windows),
        "components": (1, 4 * (3 * settings.scale) ** 2),
        "basis": (1, 9 * max(SCALES) ** 2),
        "seed": (0, 2**32 - 1),
        "ridge": (1e-6, 1e12),
        "question_share": (1e-6, 1),
    }
    for name, (lowest, highest) in limits.items():
        value = getattr(settings, name)
        if not lowest <= value <= highest:
            raise UserError(f"config.{name}={value} must be from {lowest} to {highest}")
    return settings
