"""The signals that stop a command: each interrupts like Ctrl-C, but not while a run is being closed."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TIDYING_SECONDS = 3

Handler = Callable[[int, FrameType | None], Any] | int


def interrupt_on_signals() -> None:
    """Let a signal that stops raise `KeyboardInterrupt`; those that follow at once add nothing.

    They would cut short what the first one makes be tidied up. A later one counts again, since Python drops an
    exception that it meets in a finalizer.
    """
    interrupted = -math.inf

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        nonlocal interrupted
        if time.monotonic() - interrupted >= TIDYING_SECONDS:
            interrupted = time.monotonic()
            raise KeyboardInterrupt

    for number in _handlers(ignored=False):
        signal.signal(number, interrupt)


@contextmanager
def signals_held_off() -> Iterator[None]:
    """Let the signals that stop wait until the body has ended, those that came once then.

    Their handlers are replaced, not their delivery blocked: Python handles in its main thread what any thread is sent.
    Another thread is never interrupted, so that there the body runs as it is.
    """
    if not _is_main_thread():
        yield
        return
    held: list[int] = []
    with ExitStack() as stack:
        stack.callback(_raise_each, held)
        for number, handler in _handlers(ignored=False).items():
            stack.callback(signal.signal, number, handler)
            signal.signal(number, lambda number, _: held.append(number))
        yield


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Undo what a library in the body does to the signals that stop. Only the main thread could have done it."""
    with ExitStack() as stack:
        for number, handler in _handlers(ignored=True).items() if _is_main_thread() else ():
            stack.callback(signal.signal, number, handler)
        yield


def _raise_each(numbers: list[int]) -> None:
    """Send each kind of signal to this process once, in order, whatever the handler of one of them raises."""
    if numbers:
        try:
            signal.raise_signal(numbers[0])
        finally:
            _raise_each([number for number in numbers if number != numbers[0]])


def _handlers(ignored: bool) -> dict[int, Handler]:
    """Return the handler of each signal that stops: those that Python knows, with or without what is ignored.

    An ignored one stays so, as `nohup` asks.
    """
    handlers = {number: signal.getsignal(number) for number in STOPPING}
    return {
        number: handler
        for number, handler in handlers.items()
        if handler is not None and (ignored or handler is not signal.SIG_IGN)
    }


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
