import gc

import pytest

from kdgan_jax.runtime import startup


@pytest.fixture
def thawed():
    """Lets the collector see everything again."""
    yield
    gc.unfreeze()


def test_what_is_made_is_left_out_of_collections(thawed):
    with startup.importing():
        inside = gc.isenabled()
    assert (inside, gc.isenabled()) == (False, True)
    assert gc.get_freeze_count() > 1000


def test_other_programs_keep_their_collector(thawed):
    before = gc.get_freeze_count()
    with startup.importing(False):
        assert gc.isenabled()
    gc.disable()
    with startup.importing():
        pass
    assert not gc.isenabled()
    gc.enable()
    assert gc.get_freeze_count() == before
