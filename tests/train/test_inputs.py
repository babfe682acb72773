"""What a run is given; changed photos and teachers are in tests/test_main.py."""

import pytest

from kdgan_jax import config as configuration
from kdgan_jax.errors import UserError
from kdgan_jax.train import inputs


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_a_network_that_could_not_be_loaded_again_is_refused(name):
    config = configuration.default()
    inputs.check_networks(config)
    config[name].kwargs.depth = 2000
    with pytest.raises(UserError, match=rf"config\.{name}: 'compact' cannot.* 1500 layers"):
        inputs.check_networks(config)


@pytest.mark.parametrize("text", ["", "[]", '{"train": []}', '{"train": [], "holdout": 1}'])
def test_a_damaged_list_of_photos_is_named(tmp_path, text):
    (tmp_path / "photos.json").write_text(text)
    with pytest.raises(UserError, match=r"photos\.json: does not say which photos"):
        inputs.same_photos(tmp_path / "photos.json", {"train": [], "holdout": []})
