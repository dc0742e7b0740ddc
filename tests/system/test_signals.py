import os
import signal
import threading

import pytest

from lifline.system.signals import STOPPING, handlers_kept, interrupt_on_signals, signals_held_off


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


def test_a_signal_held_off_twice_waits_for_the_outer_body():
    interrupt_on_signals()
    done = []

    def work():
        with signals_held_off():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("inner")
        done.append("outer")

    with pytest.raises(KeyboardInterrupt), signals_held_off():
        work()
    assert done == ["inner", "outer"]


def test_every_kind_of_signal_comes_after_it_was_held_off_though_the_first_interrupts():
    came = []
    signal.signal(signal.SIGTERM, lambda *_: came.append("SIGTERM"))
    signal.signal(signal.SIGHUP, lambda *_: came.append("SIGHUP"))

    def work():
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGHUP, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert came == []

    with pytest.raises(KeyboardInterrupt), signals_held_off():
        work()
    assert came == ["SIGHUP", "SIGTERM"]


def test_an_interrupt_while_signals_begin_to_be_held_off_leaves_no_handler_behind(monkeypatch):
    before = {number: signal.getsignal(number) for number in STOPPING}
    install, installed = signal.signal, []

    def interrupted(number, handler):
        install(number, handler)
        installed.append(number)
        if len(installed) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(signal, "signal", interrupted)
    with pytest.raises(KeyboardInterrupt), signals_held_off():
        pytest.fail("the body should not have run")
    assert {number: signal.getsignal(number) for number in STOPPING} == before


def test_an_error_of_the_body_does_not_swallow_a_signal():
    def fail():
        os.kill(os.getpid(), signal.SIGINT)
        raise ValueError

    with pytest.raises(KeyboardInterrupt) as raised, signals_held_off():
        fail()
    assert isinstance(raised.value.__context__, ValueError)


@pytest.mark.parametrize("context", [signals_held_off, handlers_kept])
def test_in_another_thread_nothing_needs_to_be_done(context):
    done = []

    def work():
        with context():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]


def test_a_signal_that_another_thread_is_sent_waits_too():
    """Were it blocked in the main thread, another could be sent it, and its handler would run in the main one."""
    interrupt_on_signals()
    arrivals, tell_arrival = os.pipe()
    os.set_blocking(tell_arrival, False)
    before = signal.set_wakeup_fd(tell_arrival)
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    done = []

    def work():
        signal.pthread_kill(thread.ident, signal.SIGTERM)
        assert os.read(arrivals, 1) == bytes([signal.SIGTERM])
        done.append(True)

    try:
        with pytest.raises(KeyboardInterrupt), signals_held_off():
            work()
    finally:
        signal.set_wakeup_fd(before)
        ended.set()
        thread.join()
        os.close(arrivals), os.close(tell_arrival)
    assert done == [True]


def test_what_a_library_does_to_handlers_is_undone():
    before = {number: signal.getsignal(number) for number in STOPPING}
    with handlers_kept():
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)
    assert {number: signal.getsignal(number) for number in STOPPING} == before
