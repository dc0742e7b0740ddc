"""The signals that stop a command: each interrupts like Ctrl-C, but not while a run is being closed."""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TIDYING_SECONDS = 3

Handler = Callable[[int, FrameType | None], Any]


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

    _handle(interrupt)


@contextmanager
def signals_held_off() -> Iterator[None]:
    """Let a signal that stops wait until the body has ended."""
    held: list[int] = []
    before = _handle(lambda number, _: held.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if held:
            signal.raise_signal(held[0])


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Undo what a library in the body does to the signals that stop."""
    before = {number: signal.getsignal(number) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _handle(handler: Handler) -> dict[int, Handler | int | None]:
    """Set a handler for each signal that stops, and return those before; an ignored one stays so, as `nohup` asks."""
    heeded = [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in heeded}
