"""Start-up: from the end of the imports to the end of the first training step, in a fresh process."""

from statistics import median

from benchmarks.contestants import CONTESTANTS, Contestant
from benchmarks.report import Cell, Table, spread
from benchmarks.sections import Settings
from benchmarks.task import Task
from benchmarks.worker import Worker

RACERS = ("lifline", "tutorial", "jax")


def measure(settings: Settings) -> Table:
    """Start each a few times, by turns."""
    num_starts = 1 if settings.is_quick else 7
    _start(CONTESTANTS["lifline"], settings)  # fills the JIT cache
    starts: dict[str, list[tuple[float, float]]] = {name: [] for name in RACERS}
    for _ in range(num_starts):
        for name in RACERS:
            starts[name].append(_start(CONTESTANTS[name], settings))
    rows: list[dict[str, Cell]] = []
    for name in RACERS:
        imports, first_steps = map(list, zip(*starts[name], strict=True))
        row: dict[str, Cell] = {"contestant": CONTESTANTS[name].label, "median s, import": median(imports)}
        rows.append(row | spread(first_steps, "s, first step"))
    notes = [
        f"{num_starts} fresh processes each; lifline with a warm JIT cache, JAX compiles anew as it does by default.",
        "From the end of the imports: build the network, first training step of batch 128. NumPy is there already.",
    ]
    return Table("Start-up", rows, notes)


def _start(racer: Contestant, settings: Settings) -> tuple[float, float]:
    """Return the seconds of the import, and from there to the end of the first step."""
    with Worker(racer.environment) as worker:
        import_seconds = worker.start(racer.target, Task(), settings.few_images)
        return import_seconds, worker.advance(1).seconds[0]
