"""A process per contestant: no thread pool, allocator or import of another's is in its way."""

import ctypes
import gc
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from benchmarks.task import Task
from lifline.errors import LiflineError

NO_VARIABLES: Mapping[str, str] = {}


class WorkerError(LiflineError):
    """A contestant's process has died; what it said is on standard error."""


class Run(NamedTuple):
    """What a number of iterations took, in seconds each, and what they gave."""

    seconds: list[float]
    values: list[float]


class Worker:
    """The parent's side of a process that holds one iterator, advances it when told to, and times it.

    Args:
        environment: variables that are set in it.
    """

    def __init__(self, environment: Mapping[str, str] = NO_VARIABLES) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.worker"],
            env=os.environ | dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, _type: type | None, _error: BaseException | None, _traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def start(self, target: str, task: Task, data: Path) -> float:
        """Call `module:function` of `benchmarks.contestants`, which returns the iterator.

        Returns:
            The seconds that the import of the module took.
        """
        return float(self._ask("start", target=target, task=vars(task), data=str(data)))

    def advance(self, iterations: int) -> Run:
        """Run some iterations."""
        return Run(**self._ask("advance", iterations=iterations))

    def reset_peak_memory(self) -> int:
        """Forget the process's largest resident set so far; returns what is resident now, in bytes."""
        return int(self._ask("reset_peak_memory"))

    def peak_memory(self) -> int:
        """Return the largest resident set since it was reset, in bytes."""
        return int(self._ask("peak_memory"))

    def _ask(self, command: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps([command, arguments]), file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise WorkerError(f"the process that was told to {command} {arguments.get('target', '')} has died")
        return json.loads(answer)


class _Served:
    """The process's side: one method per command."""

    def __init__(self) -> None:
        self.iterator: Iterator[Any] = iter(())

    def start(self, target: str, task: dict[str, Any], data: str) -> float:
        self.iterator = iter(())
        gc.collect()  # what the last one held
        name, function = target.split(":")
        started = time.perf_counter()
        module = importlib.import_module(f"benchmarks.contestants.{name}")
        seconds = time.perf_counter() - started
        self.iterator = getattr(module, function)(Task(**task), Path(data))
        return seconds

    def advance(self, iterations: int) -> dict[str, list[float]]:
        seconds, values = [], []
        for _ in range(iterations):
            started = time.perf_counter()
            value = float(next(self.iterator))  # waits for what is still being computed
            seconds.append(time.perf_counter() - started)
            values.append(value)
        return {"seconds": seconds, "values": values}

    def reset_peak_memory(self) -> int:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # proc(5): resets VmHWM
        return self.peak_memory()

    def peak_memory(self) -> int:
        # Not ru_maxrss, which a process inherits from the one that started it.
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
        return int(peak) * 1024


def _serve() -> None:
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not come between
    served = _Served()
    for line in sys.stdin:
        command, arguments = json.loads(line)
        method: Callable[..., Any] = getattr(served, command)
        print(json.dumps(method(**arguments)), file=replies, flush=True)


if __name__ == "__main__":
    _serve()
