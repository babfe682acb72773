import os
import subprocess
import sys
from pathlib import Path

import pytest

from kdgan_jax.upscaling import claims

HOLD = """
import sys; from pathlib import Path; from kdgan_jax.upscaling.claims import claim
print(claim(Path(sys.argv[1])) is not None, flush=True); sys.stdin.read()
"""


def held_elsewhere(target):
    """Starts a process that claims `target`; returns it and whether it has got it."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, target], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    return process, process.stdout.readline() == b"True\n"


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_result_has_its_name_when_it_is_whole(tmp_path):
    target = tmp_path / ("写" * 83 + ".png")
    held = claims.claim(target)
    assert str(os.getpid()) in held.path.name
    assert held.path.name.startswith(".")
    assert held.path.suffix == ".png"
    assert len(os.fsencode(held.path.name)) < 60
    held.path.write_text("whole")
    assert not target.exists()
    held.publish()
    held.release()
    assert left(tmp_path) == [target.name]
    held = claims.claim(target)
    held.release()
    assert target.read_text() == "whole"
    assert left(tmp_path) == [target.name]


def test_one_process_has_a_claim_until_it_ends(tmp_path, monkeypatch):
    target = tmp_path / "a.png"
    process, has_it = held_elsewhere(target)
    assert has_it
    assert claims.claim(target) is None
    assert claims.claim(tmp_path / "b.png") is not None
    mine = claims.claim(tmp_path / "c.png")
    second, has_it = held_elsewhere(tmp_path / "c.png")
    assert not has_it
    mine.release()
    (stale,) = [name for name in left(tmp_path) if f"-{process.pid}." in name]
    old = os.stat(tmp_path / stale).st_mtime - claims.OLD - 1
    os.utime(tmp_path / stale, (old, old))  # a number may have passed on to another program
    claims.claim(target).release()
    assert stale in left(tmp_path)
    for one in (process, second):
        one.communicate(timeout=60)
    claims.claim(target).release()
    assert stale not in left(tmp_path)


@pytest.mark.parametrize(("place", "name"), [(os, "utime"), (os, "replace"), (Path, "glob")])
def test_a_signal_while_a_claim_is_made_leaves_nothing(tmp_path, monkeypatch, place, name):
    def stop(*args, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(place, name, stop)
    with pytest.raises(KeyboardInterrupt):
        claims.claim(tmp_path / "a.png")
    assert os.listdir(tmp_path) == []


def test_links_in_the_place_of_a_claim_are_not_written_through(tmp_path):
    target, mine = tmp_path / "out/a.png", tmp_path / "mine"
    target.parent.mkdir()
    mine.write_text("mine")
    held = claims.claim(target)
    held.path.unlink()
    held.path.symlink_to(mine)
    claims.claim(target).path.write_text("result")
    assert mine.read_text() == "mine"
