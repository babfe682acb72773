import shutil

import pytest

from kdgan_jax import models
from kdgan_jax.zoo import __main__ as listing
from kdgan_jax.zoo import published


def test_every_architecture_and_every_known_file_has_a_line(capsys):
    assert listing.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in models.GENERATORS:
        assert sum(line.startswith(f"| {name} |") for line in lines) == 1
    assert "| srcnn | 57,281 | 52.7 G | 11 | 2, 3, 4 | yes |" in lines
    assert sum(line.endswith(" | - |") for line in lines) == len(published.FILES)


def test_files_that_are_here_are_found_whatever_they_are_called(shared, tmp_path, capsys):
    (tmp_path / "deep").mkdir()
    shutil.copy(shared / "weights" / "espcn_x4.pb", tmp_path / "deep" / "x.pb")
    listing.main([str(tmp_path)])
    (line,) = [one for one in capsys.readouterr().out.splitlines() if "| ESPCN |" in one]
    assert line.endswith(f"| {tmp_path}/deep/x.pb |")


def test_a_folder_that_is_missing_is_named(capsys, tmp_path):
    with pytest.raises(SystemExit):
        listing.main([str(tmp_path / "no")])
    assert f"{tmp_path}/no: no such folder" in capsys.readouterr().err
