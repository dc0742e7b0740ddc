"""Peak memory of a training step, and how it grows with T."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from benchmarks.contestants import CONTESTANTS
from benchmarks.report import Cell, Table
from benchmarks.sections import Settings
from benchmarks.sections.networks import TUTORIAL_6
from benchmarks.task import NUM_CLASSES, Task
from benchmarks.worker import Worker

RACERS = ("lifline", "tutorial")
FEW_STEPS, MANY_STEPS = 25, 100
MIB = 1 << 20
NUM_TRAINING_STEPS = 3
HOW_MEASURED = (
    f"Largest resident set in {NUM_TRAINING_STEPS} training steps of batch {Task().batch_size}, less what is resident "
    "once a step with T = 1 has loaded all code and its network is gone; n = 1."
)


def measure(settings: Settings) -> Table:
    """Measure lifline and the tutorial's network, each in fresh processes."""
    tasks = [Task(num_steps=num_steps) for num_steps in (FEW_STEPS, MANY_STEPS)]
    growths = _growths([(name, task) for name in RACERS for task in tasks], settings)
    rows: list[dict[str, Cell]] = []
    for name, few, many in zip(RACERS, growths[::2], growths[1::2], strict=True):
        rows.append(
            {
                "contestant": CONTESTANTS[name].label,
                f"MiB at T = {FEW_STEPS}": few,
                f"MiB at T = {MANY_STEPS}": many,
                "MiB more": many - few,
            }
        )
    record = 2 * (MANY_STEPS - FEW_STEPS) * Task().batch_size * NUM_CLASSES * 4 / MIB
    notes = [
        HOW_MEASURED,
        "Weights, gradients and Adam's moments are counted: 12 MiB.",
        f"The readout's own record, spikes and membrane [T, B, C], grows by {record:.2f} MiB.",
    ]
    return Table("Peak memory of a training step: 784-1000-10", rows, notes)


def measure_tutorial6(settings: Settings) -> Table:
    """Measure both on the network of tutorial 6."""
    growths = _growths([(name, TUTORIAL_6) for name in RACERS], settings)
    rows: list[dict[str, Cell]] = [
        {"contestant": CONTESTANTS[name].label, "MiB": growth, "times lifline": growth / growths[0]}
        for name, growth in zip(RACERS, growths, strict=True)
    ]
    return Table(f"Peak memory of a training step: {TUTORIAL_6.describe()}", rows, [HOW_MEASURED])


def _growths(cases: list[tuple[str, Task]], settings: Settings) -> list[float]:
    """Return the MiB that a few training steps of contestants add at their peak."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [growth / MIB for growth in pool.map(lambda case: _growth(case[0], case[1], settings), cases)]


def _growth(name: str, task: Task, settings: Settings) -> int:
    racer = CONTESTANTS[name]
    with Worker(racer.environment) as worker:
        worker.start(racer.target, replace(task, num_steps=1), settings.few_images)
        worker.advance(1)
        worker.start(racer.target, task, settings.few_images)
        before = worker.reset_peak_memory()
        worker.advance(NUM_TRAINING_STEPS)
        return worker.peak_memory() - before
