"""How a training step grows with T, batch size and hidden width."""

from contextlib import ExitStack
from dataclasses import replace
from statistics import median

from benchmarks.contestants import CONTESTANTS
from benchmarks.race import race, start_workers
from benchmarks.report import Cell, Table, spread
from benchmarks.sections import Settings
from benchmarks.task import Task
from benchmarks.worker import Worker

RACERS = {"lifline": "lifline", "snntorch_hoisted": "snnTorch"}
"""By contestant, the name in headings."""
GRID = {
    "num_steps": (5, 10, 25, 50, 100, 200),
    "batch_size": (32, 64, 128, 256, 512, 1024, 2048, 4096),
    "hidden": (250, 500, 1000, 2000, 4000, 8000),
}
QUICK_GRID = {"num_steps": (5, 25), "batch_size": (32,), "hidden": (250,)}
LONGEST_STEP_SECONDS = 20.0
LONGEST_TURNS_SECONDS = 2.0


def measure(settings: Settings) -> Table:
    """Vary one at a time, from the tutorial's task."""
    rows = []
    with ExitStack() as stack:
        racers = {name: CONTESTANTS[name] for name in RACERS}
        workers, _ = start_workers(stack, racers, Task(), settings.images, 1)
        for varied, values in (QUICK_GRID if settings.is_quick else GRID).items():
            racing = dict(workers)
            for value in values:
                seconds = _race_at(_task(varied, value), racing, settings)
                rows.append(_row(varied, value, seconds))
                for name, measured in seconds.items():
                    if 2 * median(measured) > LONGEST_STEP_SECONDS:
                        del racing[name]
    notes = [
        "Otherwise batch 128, 784-1000-10, T = 25.",
        "lifline and snnTorch with its input layer hoisted by hand, by turns.",
        f"Left out where a step would take more than {LONGEST_STEP_SECONDS:g} seconds.",
    ]
    return Table("Growth of the training step", rows, notes)


def _task(varied: str, value: int) -> Task:
    if varied == "hidden":
        return Task(layers=str(value))
    return replace(Task(), **{varied: value})


def _race_at(task: Task, workers: dict[str, Worker], settings: Settings) -> dict[str, list[float]]:
    longest = 0.0
    for name, worker in workers.items():
        worker.start(CONTESTANTS[name].target, task, settings.images)
        longest = max(longest, worker.advance(2).seconds[-1])
    rounds = 2 if settings.is_quick else max(2, min(10, int(LONGEST_TURNS_SECONDS / longest)))
    return race(workers, rounds, iterations=3 if rounds > 2 else 1)  # noqa: PLR2004


def _row(varied: str, value: int, seconds: dict[str, list[float]]) -> dict[str, Cell]:
    row: dict[str, Cell] = {"varied": varied, "value": value}
    for name, heading in RACERS.items():
        unit = f"ms, {heading}"
        in_ms = [1e3 * measured for measured in seconds.get(name, [])]
        row |= spread(in_ms, unit) if in_ms else dict.fromkeys(spread([0.0], unit))
    if all(name in seconds for name in RACERS):
        row["times lifline"] = median(seconds["snntorch_hoisted"]) / median(seconds["lifline"])
    else:
        row["times lifline"] = None
    return row
