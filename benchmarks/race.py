"""Fair timing: contestants take turns in one go, so that whatever else the machine does hits all alike."""

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from benchmarks.contestants import Contestant
from benchmarks.task import Task
from benchmarks.worker import Worker

PAUSE_SECONDS = 0.02
"""Between turns: idle threads of the last contestant spin on for a while before they sleep."""


def start_workers(
    stack: ExitStack, contestants: Mapping[str, Contestant], task: Task, data: Path, iterations: int
) -> tuple[dict[str, Worker], dict[str, list[float]]]:
    """Start a process for each contestant, ended with `stack`, and warm it up by some iterations.

    Returns:
        The workers, and what each of their iterations gave.

    Raises:
        WorkerError: one failed, or was not done within its limit; all are ended.
    """
    with ExitStack() as started:
        workers = {name: started.enter_context(Worker(racer.environment)) for name, racer in contestants.items()}

        def warm_up(name: str) -> list[float]:
            workers[name].start(contestants[name].target, task, data)
            return workers[name].advance(iterations, contestants[name].limit_seconds).values

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            values = dict(zip(workers, pool.map(warm_up, workers), strict=True))
        stack.enter_context(started.pop_all())
    return workers, values


def race(workers: Mapping[str, Worker], rounds: int, iterations: int) -> dict[str, list[float]]:
    """Time the workers by turns, the order rotated from round to round.

    Args:
        workers: with an iterator started and warm.
        rounds: turns for each.
        iterations: in each turn, after one that is not counted.

    Returns:
        The seconds of every counted iteration.
    """
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    for number in range(rounds):
        for name in _rotated(list(workers), number):
            time.sleep(PAUSE_SECONDS)
            workers[name].advance(1)
            seconds[name] += workers[name].advance(iterations).seconds
    return seconds


def _rotated(names: Sequence[str], number: int) -> list[str]:
    first = number % len(names)
    return [*names[first:], *names[:first]]
