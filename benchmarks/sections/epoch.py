"""One whole epoch: the tutorial's loop as printed, and lifline's."""

from collections.abc import Mapping

from benchmarks.contestants import CONTESTANTS, FUSED
from benchmarks.report import Cell, Table
from benchmarks.sections import Settings
from benchmarks.task import Task
from benchmarks.worker import Worker

NOTES = [
    "n = 1. The same network, first weights, batch size, learning rate and loss; accuracy by spike count on the "
    "10,000 test images, afterwards.",
    "The tutorial: all 60,000 images through PIL transforms and data loaders, the last partial batch dropped, and a "
    "test batch at every iteration.",
    "lifline: `fit` on all 60,000 images, and the validation on 5,000 of them counted in; kernels compiled and loaded "
    "before, like the imports of both.",
]


def measure(settings: Settings) -> Table:
    """Run one epoch each, in fresh processes."""
    with Worker(FUSED) as worker:  # fills the JIT cache
        worker.start(CONTESTANTS["lifline"].target, Task(), settings.few_images)
        worker.advance(1)
    ours = _epoch("lifline", "epochs:lifline", FUSED, settings)
    tutorial = _epoch("snnTorch, tutorial", "epochs:tutorial", {}, settings)
    rows = []
    for row in (ours, tutorial):
        ratios = {
            f"{what}, times lifline": row[what] / ours[what]  # type: ignore[operator]
            for what in ("seconds", "ms per iteration")
        }
        rows.append(row | ratios)
    return Table("One epoch: batch 128, 784-1000-10, T = 25", rows, NOTES)


def _epoch(label: str, target: str, environment: Mapping[str, str], settings: Settings) -> dict[str, Cell]:
    with Worker(environment) as worker:
        worker.start(target, Task(), settings.mnist)
        (_, seconds, _), (_, iterations, accuracy) = worker.advance(3)
    return {
        "loop": label,
        "seconds": seconds,
        "iterations": round(iterations),
        "ms per iteration": 1e3 * seconds / iterations,
        "test accuracy %": 100 * accuracy,
    }
