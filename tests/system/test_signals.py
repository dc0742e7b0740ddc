import os
import signal

import pytest

from lifline.system.signals import STOPPING, interrupt_on_signals, signals_held_off


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_interrupts_once_and_tidying_up_goes_on(number):
    interrupt_on_signals()
    tidied = []

    def work():
        try:
            os.kill(os.getpid(), number)
        finally:
            for another in STOPPING:
                os.kill(os.getpid(), another)
            tidied.append(True)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert tidied


def test_a_later_signal_interrupts_again(monkeypatch):
    monkeypatch.setattr("lifline.system.signals.TIDYING_SECONDS", 0)
    interrupt_on_signals()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_what_is_ignored_stays_ignored():
    """As `nohup` asks."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    interrupt_on_signals()
    os.kill(os.getpid(), signal.SIGHUP)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_that_is_held_off_comes_later(number):
    interrupt_on_signals()
    done = []

    def work():
        os.kill(os.getpid(), number)
        done.append(True)

    with pytest.raises(KeyboardInterrupt), signals_held_off():
        work()
    assert done


def test_signals_are_as_before_once_they_were_held_off():
    interrupt_on_signals()
    with signals_held_off():
        pass
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGHUP)
