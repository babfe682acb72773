"""`launch/benchmarks/commands.py`: turns, arithmetic on made-up times, photos, what is left out."""

import sys

from PIL import Image

from launch.benchmarks import commands


def test_calls_take_turns_and_the_first_does_not_count():
    made = []
    calls = {name: lambda name=name: made.append(name) or float(len(made)) for name in "ab"}
    assert commands.taken_in_turns(2, calls) == {"a": [3, 5], "b": [4, 6]}
    assert made == [*"ababab"]


def test_the_bound_is_compared_round_by_round():
    times = {"ours": [1.0, 2.0, 4.0], "other": [2.0, 4.0, 8.0]}
    line = commands.shown(commands.Row("one", times, [2.0, 4.0, 8.0], "as other"))
    assert line == "| one | ours 2.00, other 4.00 | as other | 2.00 (2.00 to 2.00) |"


def test_photos_differ_and_have_one_size(tmp_path):
    commands.pictures(tmp_path / "photos", 12)
    paths = sorted((tmp_path / "photos").iterdir())
    assert len({path.read_bytes() for path in paths}) == 12
    for path in paths:
        with Image.open(path) as image:
            assert (image.size, image.mode) == ((480, 270), "RGB")


def test_a_folder_is_left_out_where_the_peer_does_not_run(monkeypatch, capsys, caplog):
    monkeypatch.setattr(commands, "one_photo", lambda *_: [])
    monkeypatch.setattr(commands, "upscale", lambda *_, **__: 1.0)
    monkeypatch.setattr(commands, "megabytes", lambda *_: 7.0)
    kept = commands.table(sys.executable + "-none", 1, 1)
    assert "1 photos: left out" in caplog.text
    assert ("8K" in kept) == (sys.platform == "linux")
