"""Peak memory of a training step, and how it grows with T."""

import os
from concurrent.futures import ThreadPoolExecutor

from benchmarks.contestants import CONTESTANTS, Contestant
from benchmarks.report import Cell, Table
from benchmarks.sections import Settings
from benchmarks.task import NUM_CLASSES, Task
from benchmarks.worker import Worker

RACERS = ("lifline", "tutorial")
FEW_STEPS, MANY_STEPS = 25, 100
MIB = 1 << 20
NUM_TRAINING_STEPS = 3


def measure(settings: Settings) -> Table:
    """Measure lifline and the tutorial's network, each in fresh processes."""
    cases = [(CONTESTANTS[name], num_steps) for name in RACERS for num_steps in (FEW_STEPS, MANY_STEPS)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        growths = [growth / MIB for growth in pool.map(lambda case: _growth(*case, settings), cases)]
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
        f"Largest resident set in {NUM_TRAINING_STEPS} training steps of batch {Task().batch_size}, less what is "
        "resident once a step with T = 1 has loaded all code and its network is gone; n = 1.",
        "Weights, gradients and Adam's moments are counted: 12 MiB.",
        f"The readout's own record, spikes and membrane [T, B, C], grows by {record:.2f} MiB.",
    ]
    return Table("Peak memory of a training step: 784-1000-10", rows, notes)


def _growth(racer: Contestant, num_steps: int, settings: Settings) -> int:
    """Return the bytes that a few training steps add at their peak."""
    with Worker(racer.environment) as worker:
        worker.start(racer.target, Task(num_steps=1), settings.few_images)
        worker.advance(1)
        worker.start(racer.target, Task(num_steps=num_steps), settings.few_images)
        before = worker.reset_peak_memory()
        worker.advance(NUM_TRAINING_STEPS)
        return worker.peak_memory() - before
