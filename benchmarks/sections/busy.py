"""The training step on an idle machine and beside a busy process, by how OpenMP's threads wait for each other."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import median

from benchmarks.contestants import FUSED, Contestant
from benchmarks.race import race, start_workers
from benchmarks.report import Table, spread
from benchmarks.sections import Settings
from benchmarks.task import Task

SLEEPING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
SPINNING = {"GOMP_SPINCOUNT": "300000"}
"""What libgomp does where neither variable is set."""

RACERS = {
    "sleeping": Contestant("OMP_WAIT_POLICY=PASSIVE", "lifline_network:train", FUSED | SLEEPING),
    "spinning": Contestant("libgomp's default", "lifline_network:train", FUSED | SPINNING),
}
TASK = Task(num_steps=10, batch_size=256, beta=0.9)
KEEP_BUSY = """
import sys, threading

def work():
    while True:
        pass

threading.Thread(target=work, daemon=True).start()
print("busy", flush=True)
sys.stdin.read()  # ends with the process that started this one
"""
NOTES = [
    "Each in a process of its own, by turns: in every round on an idle machine, then beside one process that computes "
    "on one thread without a pause.",
    "lifline sets OMP_WAIT_POLICY=PASSIVE unless the user has set it, so that a thread with nothing to do sleeps. By "
    "default it spins for 300,000 rounds first (GOMP_SPINCOUNT), on a core that the others may be waiting for.",
    "All other sections are measured with lifline's setting, the other libraries' processes included.",
]


def measure(settings: Settings) -> Table:
    """Race both ways to wait, idle and beside a busy process."""
    rounds, iterations = (1, 2) if settings.is_quick else (10, 10)
    idle: dict[str, list[float]] = {name: [] for name in RACERS}
    busy: dict[str, list[float]] = {name: [] for name in RACERS}
    with ExitStack() as stack:
        workers, _ = start_workers(stack, RACERS, TASK, settings.images, 1)
        for _ in range(rounds):
            _add(idle, race(workers, len(workers), iterations))
            with busy_process():
                _add(busy, race(workers, len(workers), iterations))
    rows = [
        {"threads wait by": racer.label, "beside": beside}
        | spread([1e3 * value for value in seconds[name]], "ms")
        | {"times idle": median(seconds[name]) / median(idle[name])}
        for name, racer in RACERS.items()
        for beside, seconds in (("nothing", idle), ("a busy process", busy))
    ]
    title = f"Training step beside a busy process: {TASK.describe()}"
    return Table(title, rows, [f"{rounds * len(RACERS) * iterations} steps each.", *NOTES])


@contextmanager
def busy_process() -> Iterator[subprocess.Popen[bytes]]:
    """Keep one core busy while the body runs."""
    command = [sys.executable, "-c", KEEP_BUSY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()  # once it is busy
            yield process
        finally:
            process.kill()


def _add(seconds: dict[str, list[float]], more: dict[str, list[float]]) -> None:
    for name, measured in more.items():
        seconds[name] += measured
