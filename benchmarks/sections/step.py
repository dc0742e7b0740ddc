"""One training step of each contestant, and that all compute the same."""

from contextlib import ExitStack
from statistics import median

from benchmarks.contestants import CONTESTANTS, SOFT_RESET, Contestant
from benchmarks.race import race, start_workers
from benchmarks.report import Table, spread
from benchmarks.sections import Settings
from benchmarks.task import Task
from lifline.errors import LiflineError

STEPS_COMPARED = 3
"""The first loss shows the forward pass, later ones the backward pass and Adam."""

NOTES = [
    "Forward, backward and Adam; each contestant in a process of its own, all by turns, on the same batches from the "
    "same weights.",
    "Hoisted: by hand, the input layer is computed once instead of at every time step. Reference: "
    "LIFLINE_KERNELS=reference, lifline's specification in plain PyTorch.",
    f"Loss difference: the largest relative one over the first {STEPS_COMPARED} steps, checked to be below "
    f"{CONTESTANTS['lifline'].tolerance:g}, from lifline's reference; for SpikingJelly from its own equations in plain "
    "PyTorch, since it resets before the decay where snnTorch resets after it.",
    "Norse's neuron has other equations (scaled input, reset before the decay, SuperSpike surrogate): its losses are "
    "its own and are not compared.",
    "Adam is fused in lifline and in the floor, written out in JAX, and torch.optim.Adam by default elsewhere.",
    "The floor, on memory that is there already: the input layer's forward and weight gradient, and Adam; with the "
    "readout also its forward, weight gradient and input gradient over T * B rows.",
]


def measure(settings: Settings) -> Table:
    """Race all contestants.

    Raises:
        LiflineError: one computes another loss than it should.
    """
    task = Task()
    rounds, iterations = (3, 2) if settings.is_quick else (20, 5)
    with ExitStack() as stack:
        contestants = CONTESTANTS | {"soft_reset": SOFT_RESET}
        workers, losses = start_workers(stack, contestants, task, settings.images, STEPS_COMPARED)
        differences = {name: loss_difference(racer, name, losses) for name, racer in CONTESTANTS.items()}
        workers.pop("soft_reset").close()
        seconds = race(workers, rounds, iterations)
    rows = [
        {"contestant": racer.label}
        | spread([1e3 * value for value in seconds[name]], "ms")
        | {"times lifline": median(seconds[name]) / median(seconds["lifline"])}
        | {"loss difference": differences[name]}
        for name, racer in CONTESTANTS.items()
    ]
    return Table(
        f"Training step: {task.describe()}", rows, [f"{rounds * iterations} steps each, in {rounds} rounds.", *NOTES]
    )


def loss_difference(racer: Contestant, name: str, losses: dict[str, list[float]]) -> float | None:
    """Return the largest relative difference from the losses that a contestant must show; None if it has its own.

    Raises:
        LiflineError: it is not below the contestant's tolerance.
    """
    if racer.expected is None:
        return None
    pairs = zip(losses[name], losses[racer.expected], strict=True)
    difference = max(abs(loss - expected) / expected for loss, expected in pairs)
    if not difference < racer.tolerance:
        raise LiflineError(
            f"{racer.label} has the losses {losses[name]}, where {losses[racer.expected]} were expected; "
            f"allowed is a relative difference below {racer.tolerance:g}"
        )
    return difference
