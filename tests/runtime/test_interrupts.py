import importlib.machinery
import os
import signal
import subprocess
import sys
import threading
import time

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


@pytest.mark.parametrize(
    ("name", "ends"), [("kdgan_jax.main", True), ("launch.ablate", True), ("x.kdgan_jax", False)]
)
def test_a_second_ctrl_c_ends_a_command_and_leaves_other_programs_to_python(
    monkeypatch, name, ends
):
    codes = []
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "__spec__", importlib.machinery.ModuleSpec(name, None))
    monkeypatch.setattr(os, "_exit", lambda code: codes.append(code) or sys.exit(code))
    before = signal.getsignal(signal.SIGINT)
    with interrupts.raised():
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(SystemExit if ends else KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert codes == [130] * ends
    assert signal.getsignal(signal.SIGINT) == before


def test_a_kernel_outlives_a_second_ctrl_c():
    client = pytest.importorskip("jupyter_client", reason="the test extra has nbclient")
    pytest.importorskip("ipykernel", reason="the test extra has ipykernel")
    manager, kernel = client.manager.start_new_kernel(kernel_name="python3")
    printed = threading.Event()

    def show(message):
        if message["content"].get("text", "").strip():
            printed.set()

    def run(code):
        return kernel.execute_interactive(code, timeout=60, output_hook=show)["content"]

    def interrupt():
        assert printed.wait(60)
        manager.interrupt_kernel()
        time.sleep(0.5)
        manager.interrupt_kernel()

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        waits = "print('ready', flush=True)\n    for _ in range(600):\n        time.sleep(0.05)"
        begin = "import time\nfrom kdgan_jax.train import stopping\n"
        reply = run(f"{begin}with stopping.listening() as stop, stop.waiting():\n    {waits}")
        assert reply["ename"] == "KeyboardInterrupt"
        assert run("1")["status"] == "ok"
    finally:
        thread.join()
        kernel.stop_channels()
        manager.shutdown_kernel(now=True)


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
