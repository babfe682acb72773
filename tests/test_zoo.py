import json
import shutil

import pytest

from kdgan_jax import models
from kdgan_jax import zoo as listing
from kdgan_jax.formats import published


def test_every_architecture_and_every_known_file_has_a_line(capsys):
    assert listing.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in models.GENERATORS:
        assert sum(line.startswith(f"| {name} |") for line in lines) == 1
    assert "| srcnn | 57,281 | 52.7 G | 11 | 2, 3, 4 | yes |" in lines
    assert sum(line.endswith(" | - |") for line in lines) == len(published.FILES)


def test_files_that_are_here_are_found_whatever_they_are_called(shared, tmp_path):
    (tmp_path / "deep").mkdir()
    shutil.copy(shared / "weights" / "espcn_x4.pb", tmp_path / "deep" / "x.pb")
    (row,) = [row for row in listing.files(listing.find([tmp_path])) if row[0] == "ESPCN"]
    assert row[1:6] == ["24,752", "1.4 G", "9", "4", "Apache-2.0"]
    assert row[-1] == f"{tmp_path}/deep/x.pb"


def results(folder, **rows):
    folder.mkdir(parents=True)
    figures = {"scale": 4, "psnr_y": 28.381, "ssim_y": 0.81354}
    rows = [{"model": k, "dataset": name, **figures} for k, v in rows.items() for name in v]
    (folder / "results.json").write_text(json.dumps({"rows": rows}))


def test_measured_figures_stand_above_the_published_ones(shared, tmp_path, capsys, monkeypatch):
    weights = tmp_path / "weights"
    weights.mkdir()
    for name in "espcn_x4.pb", "vdsr.pth", "fsrcnn_small_x4.pb":
        shutil.copy(shared / "weights" / name, weights)
    results(tmp_path / "a", espcn_x4=["Set5", "Urban100"], bicubic=["Set5"])
    results(tmp_path / "b", vdsr=["Set5"])
    monkeypatch.setattr(listing, "seconds", lambda model: 0.1234)
    out = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert listing.main([str(weights), "--seconds", "--results", *out]) == 0
    title, _, espcn, espcn_published, vdsr, vdsr_published = capsys.readouterr().out.splitlines()
    assert title == (
        "| network | Set5 | Set14 | BSD100 | Urban100 | parameters | multi-adds"
        " | seconds per frame |"
    )
    assert espcn == ("| ESPCN | 28.38 / 0.8135 | - | - | 28.38 / 0.8135 | 24,752 | 1.4 G | 0.12 |")
    assert espcn_published.startswith("| *table of SAFMN, another training* | 30.52 / 0.8697 | 27")
    assert vdsr.startswith("| VDSR | 28.38 / 0.8135 | - | - | - | 664,704 |")
    assert vdsr_published == "| *its README, measured on Y alone* | 31.45 | - | - | - |  |  |  |"


def test_seconds_are_the_median_after_a_warm_up(monkeypatch):
    calls = []

    class Fake:
        scale = 3

        def upscale(self, image):
            calls.append((image.shape, image.dtype.name))
            clock[0] += [100, 3, 1, 9, 2, 4][len(calls) - 1]

    clock = [0.0]
    monkeypatch.setattr(listing.time, "perf_counter", lambda: clock[0])
    assert listing.seconds(Fake()) == 3
    assert calls == [((240, 427, 3), "uint8")] * 6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seconds"], "--seconds goes with --results; give both"),
        (["--results", "no"], "no/results.json: has no results that can be read"),
    ],
)
def test_what_does_not_go_together_or_is_missing_is_named(capsys, arguments, said):
    with pytest.raises(SystemExit):
        listing.main(arguments)
    assert said in capsys.readouterr().err


def test_a_folder_that_is_missing_is_named(capsys, tmp_path):
    with pytest.raises(SystemExit):
        listing.main([str(tmp_path / "no")])
    assert f"{tmp_path}/no: no such folder" in capsys.readouterr().err
