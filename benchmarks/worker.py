"""A process per contestant: no thread pool, allocator or import of another's is in its way."""

import ctypes
import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from benchmarks.task import Task
from lifline.errors import LiflineError

NO_VARIABLES: Mapping[str, str] = {}


class WorkerError(LiflineError):
    """A contestant has failed, or was too slow; what its process said is on standard error."""


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
            process_group=0,  # with the compilers that it starts
        )

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, _type: type | None, _error: BaseException | None, _traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()

    def start(self, target: str, task: Task, data: Path) -> float:
        """Call `module:function` of `benchmarks.contestants`, which returns the iterator.

        Returns:
            The seconds that the import of the module took.
        """
        return float(self._ask("start", target=target, task=vars(task), data=str(data)))

    def advance(self, iterations: int, limit_seconds: float | None = None) -> Run:
        """Run some iterations.

        Raises:
            WorkerError: they failed, or took more than `limit_seconds`; the worker is of no more use.
        """
        return Run(**self._ask("advance", limit_seconds, iterations=iterations))

    def reset_peak_memory(self) -> int:
        """Forget the process's largest resident set so far; returns what is resident now, in bytes."""
        return int(self._ask("reset_peak_memory"))

    def peak_memory(self) -> int:
        """Return the largest resident set since it was reset, in bytes."""
        return int(self._ask("peak_memory"))

    def _ask(self, command: str, limit_seconds: float | None = None, **arguments: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps([command, arguments]), file=self._process.stdin, flush=True)
            if not select.select([self._process.stdout], [], [], limit_seconds)[0]:
                raise WorkerError(f"not done after {limit_seconds:g} s")
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise WorkerError(f"the process that was told to {command} {arguments.get('target', '')} has died")
        result = json.loads(answer)
        if "error" in result:
            raise WorkerError(result["error"])
        return result["answer"]


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
        try:
            reply = {"answer": method(**arguments)}
        except Exception as error:  # a contestant's own, of any kind
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    _serve()
