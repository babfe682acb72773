import os

import pytest

from kdgan_jax.runtime import outputs
from kdgan_jax.runtime.errors import UserError


def test_a_folder_is_made_and_nothing_stays_in_it(tmp_path):
    for _ in range(2):
        outputs.make(tmp_path / "a/b", "--out")
        assert list((tmp_path / "a/b").iterdir()) == []


@pytest.mark.parametrize("place", ["file", "file/below", "file/below/deep"])
def test_a_file_in_the_way_is_named(tmp_path, place):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=f"--out={tmp_path / place}: {tmp_path}/file is a file"):
        outputs.make(tmp_path / place, "--out")


@pytest.mark.parametrize("place", ["closed", "closed/new", "/proc/none"])
def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch, place):
    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "closed").mkdir()
    if os.getuid() == 0:  # who may write anywhere
        monkeypatch.setattr("pathlib.Path.touch", refuse)
    else:
        (tmp_path / "closed").chmod(0o500)
    with pytest.raises(UserError, match=rf"-o=.*{place}: cannot be written \("):
        outputs.make(tmp_path / place, "-o")
