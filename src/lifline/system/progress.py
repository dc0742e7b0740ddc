"""Progress on long work: a bar on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, ProgressColumn, TextColumn, TransferSpeedColumn


@contextmanager
def transfer_bar(name: str, num_bytes: int | None) -> Iterator[Callable[[int], None]]:
    """A bar for a transfer, of `num_bytes` if that is known; yields what to call with the length of each piece."""
    columns = [TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn()]
    with new_bar(*columns) as progress:
        task = progress.add_task(name, total=num_bytes)
        yield lambda piece: progress.advance(task, piece)


def new_bar(*columns: ProgressColumn, speed_over_seconds: float = 30) -> Progress:
    """A bar that vanishes when done, and draws nothing where standard output is no terminal."""
    return Progress(
        *columns,
        console=Console(),
        transient=True,
        disable=not sys.stdout.isatty(),
        speed_estimate_period=speed_over_seconds,
    )
