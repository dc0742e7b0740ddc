"""The signals that stop a command: each interrupts like Ctrl-C, but not while a run is being closed."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupt_on_signals() -> None:
    """Let each signal that stops raise `KeyboardInterrupt`, once; one that is ignored, as `nohup` does, stays so."""
    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


@contextmanager
def signals_held_off() -> Iterator[None]:
    """Let a signal that stops wait until the body has ended."""
    held: list[int] = []
    before = {number: signal.signal(number, lambda number, _: held.append(number)) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if held:
            signal.raise_signal(held[0])


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)  # the command is ending: another must not cut its tidying up short
    raise KeyboardInterrupt
