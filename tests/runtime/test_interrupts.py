import os
import signal
import subprocess
import sys
import threading

import pytest

from kdgan_jax.runtime import interrupts
from kdgan_jax.runtime.interrupts import Interrupted

PROGRAM = """
import time
from kdgan_jax.runtime import interrupts
with interrupts.in_one_line():
    print("ready", flush=True)
    for _ in range(1200):
        try:
            time.sleep(0.05)
        except Exception:
            print("caught")
"""


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
@pytest.mark.parametrize("stderr", [True, False])
def test_a_signal_ends_a_program_in_one_line(name, code, stderr):
    command = [sys.executable, "-c", PROGRAM]
    if not stderr:
        command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(getattr(signal, name))
    assert process.communicate(timeout=60) == ("", "stopped\n" if stderr else "")
    assert process.returncode == code


def test_signals_raise_once_inside_the_block_alone():
    before = [signal.getsignal(getattr(signal, name)) for name in interrupts.NAMES]
    with interrupts.raised() as requests:
        requests.check()
        with pytest.raises(Interrupted) as stop:
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.value.code == 143
        os.kill(os.getpid(), signal.SIGHUP)  # it is ending already
        with pytest.raises(Interrupted):  # if the first was lost on the way
            requests.check()
    assert [signal.getsignal(getattr(signal, name)) for name in interrupts.NAMES] == before


def test_ignored_signals_stay_ignored_and_other_threads_change_nothing(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with interrupts.raised():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)

    def enter():
        with interrupts.raised():
            found.append(signal.getsignal(signal.SIGTERM))

    found = []
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM)]


def test_the_block_may_change_nothing():
    with pytest.raises(KeyboardInterrupt), interrupts.in_one_line(applies=False):
        raise KeyboardInterrupt
