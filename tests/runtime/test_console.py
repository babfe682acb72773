import io
import itertools
import logging
import os
import subprocess
import sys

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


def test_the_bar_moves_with_parts_and_counts_what_is_done(caplog, monkeypatch):
    clock = itertools.count(0, 31)  # every look is worth a line
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    caplog.set_level(logging.INFO, "kdgan_jax")
    with console.progress("kd", 2) as bar:
        bar.move(0.5, "[a]\x1b\udcff")
        bar.move(1.9)  # both are nearly done, and none is
        bar.under_way = 0.9
        bar.advance("b")
    lines = ["0 of 2, 0:00:31", "0 of 2, 0:01:02 elapsed, ETA 0:00:03", "1 of 2"]
    assert len(caplog.messages) == len(lines)
    for message, line in zip(caplog.messages, lines, strict=True):
        assert message.startswith(f"kd: {line}")
    assert caplog.messages[1].endswith("  [a]\\x1b\\udcff")


def test_a_bar_on_a_terminal_is_full_when_all_is_done_and_shows_no_markup(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(console.sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("COLUMNS", "120")
    with console.progress("kd", 4, start=1) as bar:
        (task,) = bar._bar.tasks
        bar.move(2.5, "[bold]a :smile:")
        assert (task.completed, task.fields["done"]) == (3.5, 1)
        bar.under_way = 0
        for _ in range(3):
            bar.advance()
        assert task.completed == 4
    assert "4/4" in terminal.getvalue()
    assert "[bold]a :smile:" in terminal.getvalue()
    with console.progress("kd", 1) as bar:  # what cannot be written does not matter
        monkeypatch.setattr(bar._bar, "stop", lambda: os.close(-1))


def test_streams_that_are_closed_are_opened_on_nothing(monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(console.sys, name, None)
    console.setup()
    console.log.warning("is not seen")
    print("nor is this")
    print("nor this", file=console.sys.stderr)
    assert console.sys.stdin.read() == ""


def test_a_line_of_progress_does_not_wait_with_messages_that_are_held(capfd, monkeypatch):
    console.setup()
    monkeypatch.setattr(console.Progress, "interval", 0.0)
    held = []
    hold = lambda record: held.append(record.msg) and False  # noqa: E731  # as a batch does
    console.log.addFilter(hold)
    try:
        with console.progress("kd", 2) as bar:
            console.log.warning("later")
            bar.move(0.5)
            said = capfd.readouterr().err
            with console.quiet():
                bar.move(0.6)
    finally:
        console.log.removeFilter(hold)
    assert said.startswith("kd: 0 of 2, ")
    assert held == ["later"]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("gone", [True, False])
def test_a_reader_that_has_gone_is_no_error_to_show(gone):
    reader, writer = os.pipe()
    work = "print(1, flush=True)" if gone else "raise BrokenPipeError('of another pipe')"
    if gone:
        os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", f"from kdgan_jax.runtime import console; console.setup(); {work}"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1:] == ([] if gone else ["BrokenPipeError: of another pipe"])
