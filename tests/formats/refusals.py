"""A check that files are refused as the user needs it: one short line with the facts."""

import pytest

from kdgan_jax.runtime.errors import UserError


def refused(read, path, *facts):
    """Checks that `read(path)` raises a UserError that has the path and these facts."""
    with pytest.raises(UserError) as caught:
        read(path)
    line = str(caught.value)
    assert len(line) < 700
    for fact in (str(path), *facts):
        assert fact in line
