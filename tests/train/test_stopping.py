import os
import signal
import threading

import pytest

from kdgan_jax.runtime.errors import Stopped
from kdgan_jax.train import stopping


def test_a_signal_outside_training_ends_the_run():
    with pytest.raises(Stopped, match="SIGTERM"), stopping.listening():
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_in_training_waits(caplog):
    before = [signal.getsignal(number) for number in stopping.SIGNALS]
    with stopping.listening() as stop, stop.waiting():
        assert stop.asked is None
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked == signal.SIGINT
        os.kill(os.getpid(), signal.SIGTERM)  # changes nothing
        assert stop.asked == signal.SIGINT
    assert "Ctrl-C again" in caplog.text
    assert [signal.getsignal(number) for number in stopping.SIGNALS] == before
    with pytest.raises(Stopped, match="SIGINT"):
        stop.check()


def test_a_second_ctrl_c_quits_at_once():
    stop = stopping.Stop()
    with stop.waiting():
        stop.handle(signal.SIGTERM)
        stop.handle(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):  # this program is none of the package's commands
            stop.handle(signal.SIGINT)


def test_other_threads_do_not_receive_signals():
    requests = []

    def run():
        with stopping.listening() as stop:
            requests.append(stop.asked)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert requests == [None]
