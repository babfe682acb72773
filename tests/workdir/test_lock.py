import subprocess
import sys

import pytest

from kdgan_jax.runtime.errors import UserError
from kdgan_jax.workdir import lock

PROGRAM = """
import pathlib, sys
from kdgan_jax.workdir import lock
with lock.alone(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    input()
"""


def test_a_second_holder_is_refused_and_told_who_holds_it(tmp_path):
    other = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=rf"{tmp_path}.* {other.pid} "), lock.alone(tmp_path):
        pass
    other.kill()
    other.communicate()
    with lock.alone(tmp_path):  # a killed process holds no lock
        assert (tmp_path / ".lock").is_file()


def test_an_error_releases_it(tmp_path):
    with pytest.raises(RuntimeError), lock.alone(tmp_path):
        raise RuntimeError
    with lock.alone(tmp_path):
        pass
