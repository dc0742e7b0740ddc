"""A training step of other networks than tutorial 5's: convolutions, and more layers."""

from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec
from statistics import median

import torch

from benchmarks.contestants import NETWORK_CONTESTANTS, SOFT_RESET, Contestant
from benchmarks.race import race, start_workers
from benchmarks.report import OPTIONAL, Cell, Table, spread
from benchmarks.sections import Settings
from benchmarks.sections.step import loss_difference
from benchmarks.task import Task
from benchmarks.worker import Worker
from lifline.errors import LiflineError

TUTORIAL_6 = Task("12C5-MP2-64C5-MP2", 50, 128, 0.5, "fast_sigmoid", learning_rate=1e-2, loss="rate_ce")
RACES = {"tutorial6": TUTORIAL_6, "tutorial6_8": replace(TUTORIAL_6, num_steps=8), "deep": Task("800-800")}
"""By section."""

STEPS_COMPARED = 3
"""In the first two no output neuron of tutorial 6's network fires, and every loss is the logarithm of 10; from the
fourth on, weights that are off by 1e-7 at first make the reference's own loss differ by more than a thousandth."""

TURNS_SECONDS = 60.0
"""About what all turns take together, but for the least number of rounds."""

FEWEST_ROUNDS, MOST_ROUNDS = 3, 20
LONG_STEPS_SECONDS = 1.0
"""Of one step of each; such are timed fewer at a turn."""

QUICK_LIMIT_SECONDS = 20.0
FAILED = "failed"

NOTES = [
    "Forward, backward and Adam; each contestant in a process of its own, all by turns, on the same batches from the "
    "same weights.",
    "Reference: LIFLINE_KERNELS=reference, lifline's specification in plain PyTorch. bf16: train.precision, under "
    "autocast; where the processor has such instructions.",
    "snnTorch, SpikingJelly (multi-step, its PyTorch backend) and Norse as their users write it: the image enters at "
    "every step (in Spyx, too, where it is installed), and Adam is torch.optim.Adam by default. lifline computes the "
    "first layer once an image, and its Adam is fused.",
    f"Loss difference: the largest relative one over the first {STEPS_COMPARED} steps from lifline's reference, "
    f"checked to be below {NETWORK_CONTESTANTS['lifline'].tolerance:g}, in bf16 below "
    f"{NETWORK_CONTESTANTS['bf16'].tolerance:g}. Norse's and Spyx's neurons have other equations, and SpikingJelly's "
    "resets before the decay; SpikingJelly is compared, with its own equations in plain PyTorch, where all layers are "
    "dense.",
    "The floor, on memory that is there already, in fp32: forward, weight gradient and input gradient of each layer "
    "by PyTorch's own products over T * B images, of the first layer forward and weight gradient over B, and fused "
    "Adam; convolutions with channels last, which is faster; no pooling, no neurons. Floor's share: what part of a "
    "step it would be.",
]


def measure(section: str, settings: Settings) -> Table:
    """Race all contestants on the task of a section.

    Raises:
        LiflineError: one computes another loss than it should, or one that must not fail has failed.
    """
    task = RACES[section]
    racers = _contestants(task, settings.is_quick)
    with ExitStack() as stack:
        workers, losses, failures = _start(stack, racers, task, settings)
        differences = {name: loss_difference(racers[name], name, losses) for name in workers if name in racers}
        if "soft_reset" in workers:
            workers.pop("soft_reset").close()
        rounds, iterations = (2, 1) if settings.is_quick else _rounds_and_iterations(workers)
        seconds = race(workers, rounds, iterations)
    rows = [
        _row(racer, seconds[name], seconds, differences[name]) if name in seconds else _failed_row(racer)
        for name, racer in racers.items()
    ]
    told = [f"{racers[name].label} failed: {reason}." for name, reason in failures.items()]
    count = f"{rounds * iterations} steps each, in {rounds} rounds."
    return Table(f"Training step: {task.describe()}", rows, [count, *told, *NOTES])


def _contestants(task: Task, is_quick: bool) -> dict[str, Contestant]:
    racers = dict(NETWORK_CONTESTANTS)
    if not torch.cpu.get_capabilities().get("avx512_bf16") and not torch.cpu.get_capabilities().get("amx_bf16"):
        del racers["bf16"]
    if find_spec(OPTIONAL) is None:
        del racers[OPTIONAL]
    if not task.is_dense:
        racers["spikingjelly"] = replace(racers["spikingjelly"], expected=None)
    if is_quick:
        racers["compiled"] = replace(racers["compiled"], limit_seconds=QUICK_LIMIT_SECONDS)
    return racers


def _start(
    stack: ExitStack, racers: dict[str, Contestant], task: Task, settings: Settings
) -> tuple[dict[str, Worker], dict[str, list[float]], dict[str, str]]:
    """Start all; return the workers and their first losses, and why those failed that may."""
    may_fail = {name: racer for name, racer in racers.items() if racer.limit_seconds is not None}
    compared = {"soft_reset": SOFT_RESET} if task.is_dense else {}
    must_run = {name: racer for name, racer in (racers | compared).items() if name not in may_fail}
    workers, losses = start_workers(stack, must_run, task, settings.images, STEPS_COMPARED)
    failures = {}
    for name, racer in may_fail.items():  # beside nothing, because of its limit
        try:
            started, its_losses = start_workers(stack, {name: racer}, task, settings.images, STEPS_COMPARED)
            loss_difference(racer, name, losses | its_losses)
        except LiflineError as error:
            failures[name] = str(error)
        else:
            workers |= started
            losses |= its_losses
    return workers, losses, failures


def _rounds_and_iterations(workers: dict[str, Worker]) -> tuple[int, int]:
    one_of_each = sum(worker.advance(1).seconds[0] for worker in workers.values())
    iterations = 2 if one_of_each > LONG_STEPS_SECONDS else 5
    fitting = int(TURNS_SECONDS / (one_of_each * (1 + iterations)))
    return max(FEWEST_ROUNDS, min(MOST_ROUNDS, fitting)), iterations


def _row(
    racer: Contestant, its_seconds: list[float], seconds: dict[str, list[float]], difference: float | None
) -> dict[str, Cell]:
    return (
        {"contestant": racer.label}
        | spread([1e3 * value for value in its_seconds], "ms")
        | {
            "times lifline": median(its_seconds) / median(seconds["lifline"]),
            "floor's share": median(seconds["floor"]) / median(its_seconds),
            "loss difference": difference,
        }
    )


def _failed_row(racer: Contestant) -> dict[str, Cell]:
    nothing = dict.fromkeys([*spread([0.0], "ms"), "times lifline", "floor's share", "loss difference"])
    return {"contestant": racer.label} | nothing | {"median ms": FAILED}
