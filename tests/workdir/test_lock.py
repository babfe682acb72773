import subprocess
import sys

import pytest

from kdgan_jax.runtime.errors import UserError
from kdgan_jax.workdir import lock


def test_a_second_holder_is_refused_and_told_who_holds_it(tmp_path):
    program = f"""
from pathlib import Path
from kdgan_jax.workdir import lock
with lock.alone(Path({str(tmp_path)!r})):
    print("held", flush=True)
    input()
"""
    other = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "held\n"
    with (
        pytest.raises(UserError, match=f"{tmp_path}: is in use by process {other.pid} on "),
        lock.alone(tmp_path),
    ):
        pass
    other.kill()
    other.wait()
    with lock.alone(tmp_path):  # what a killed process left is no lock
        assert (tmp_path / ".lock").is_file()


def test_it_is_free_again_after_an_error(tmp_path):
    with pytest.raises(RuntimeError), lock.alone(tmp_path):
        raise RuntimeError
    with lock.alone(tmp_path):
        pass
