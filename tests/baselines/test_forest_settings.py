import pytest

from kdgan_jax.baselines import forest_settings
from kdgan_jax.runtime.errors import UserError


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_defaults_pass_at_every_scale(scale):
    config = forest_settings.default()
    config.scale = scale
    settings = forest_settings.checked(config)
    assert (settings.scale, settings.data.source) == (scale, "embedded")
    assert settings.saved == config.to_dict()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scale", 5),
        ("trees", 0),
        ("leaves", 1),
        ("depth", -1),
        ("leaf_samples", 0),
        ("leaf_samples", 500_001),  # samples
        ("samples", 5_000_001),  # windows
        ("components", 577),
        ("basis", 145),
        ("ridge", 0.0),
        ("ridge", float("nan")),
        ("question_share", 1.1),
        ("seed", -1),
        ("data.source", ""),
    ],
)
def test_values_are_checked(field, value):
    config = forest_settings.default()
    config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=rf"config\.{field}[= ]{value}"):
        forest_settings.checked(config)
