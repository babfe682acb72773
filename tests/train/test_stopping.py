import os
import signal
import threading

import pytest

from kdgan_jax.runtime.errors import Stopped
from kdgan_jax.train import stopping


def test_a_signal_ends_what_has_nothing_to_save():
    with pytest.raises(Stopped, match="stopped by SIGTERM; start again"), stopping.listening():
        os.kill(os.getpid(), signal.SIGTERM)


def test_while_steps_are_made_a_signal_waits(caplog):
    with stopping.listening() as stop, stop.waiting():
        assert stop.asked is None
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked == signal.SIGINT
        os.kill(os.getpid(), signal.SIGTERM)  # changes nothing
        assert stop.asked == signal.SIGINT
    assert caplog.messages == ["SIGINT: ends after this step; Ctrl-C leaves at once"]


def test_a_second_ctrl_c_leaves_at_once(monkeypatch):
    codes = []
    monkeypatch.setattr(os, "_exit", codes.append)
    stop = stopping.Stop()
    with stop.waiting():
        stop.handle(signal.SIGTERM)
        stop.handle(signal.SIGTERM)
        assert codes == []
        stop.handle(signal.SIGINT)
    assert codes == [stopping.AT_ONCE]


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in stopping.SIGNALS]
    with stopping.listening():
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(number) for number in stopping.SIGNALS] == before


def test_outside_the_main_thread_no_signal_is_listened_to():
    found = []

    def run():
        with stopping.listening() as stop:
            found.append(stop.asked)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [None]
