import itertools
import logging

import pytest

from kdgan_jax.runtime import console


@pytest.mark.parametrize(
    ("start", "total", "lines"),
    [
        (0, 7, ["3 of 7, 0:00:30 elapsed, ETA 0:00:40", "6 of 7, 0:01:00", "7 of 7, 0:01:10"]),
        (8, 12, ["11 of 12, 0:00:30 elapsed, ETA 0:00:10", "12 of 12, 0:00:40"]),  # resumed
    ],
)
def test_progress_without_a_terminal_is_a_line_every_30_seconds(
    caplog, monkeypatch, start, total, lines
):
    clock = itertools.count(0, 10)  # every look takes ten seconds
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    caplog.set_level(logging.INFO, "kdgan_jax")
    with console.progress("kd", total, start=start) as bar:
        for i in range(start, total):
            bar.advance(f"{i}.png")
    assert len(caplog.messages) == len(lines)
    for message, line in zip(caplog.messages, lines, strict=True):
        assert message.startswith(f"kd: {line}")
    assert caplog.messages[-1].endswith(f"{total - 1}.png")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("~", "/home/me"),
        ("~/photos", "/home/me/photos"),
        ("--out=~/large", "--out=/home/me/large"),
        ("--data=mine=lr:~/a,~/b", "--data=mine=lr:/home/me/a,/home/me/b"),
        ("a~", "a~"),
        ("~other/photos", "~other/photos"),
        ("photos/~/a", "photos/~/a"),
    ],
)
def test_home_is_written_as_in_a_shell(monkeypatch, word, expected):
    monkeypatch.setenv("HOME", "/home/me")
    assert console.arguments(["upscale", word]) == ["upscale", expected]
    monkeypatch.setattr(console.sys, "argv", ["kdgan", word])
    assert console.arguments() == [expected]
