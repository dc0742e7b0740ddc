"""What the augmentation of the recipe in params.yaml costs beside the training step that it feeds."""

from contextlib import ExitStack
from statistics import median

from benchmarks.contestants import FUSED, Contestant
from benchmarks.race import race, start_workers
from benchmarks.report import Table, spread
from benchmarks.sections import Settings
from benchmarks.task import Task
from lifline.params import read_params

RACERS = {
    "step": Contestant("training step", "lifline_network:train_recipe", FUSED),
    "augmentation": Contestant("augmentation of its batch", "lifline_network:augment", FUSED),
}


def measure(settings: Settings) -> Table:
    """Race the step and the augmentation."""
    params = read_params()
    network = params.network
    (beta,) = set(network.betas)
    task = Task(network.layers, network.num_steps, params.train.batch_size, beta, network.surrogate)
    rounds, iterations = (3, 2) if settings.is_quick else (20, 10)
    with ExitStack() as stack:
        workers, _ = start_workers(stack, RACERS, task, settings.images, 1)
        seconds = race(workers, rounds, iterations)
    rows = [
        {"part": racer.label}
        | spread([1e3 * value for value in seconds[name]], "ms")
        | {"share of the step": median(seconds[name]) / median(seconds["step"])}
        for name, racer in RACERS.items()
    ]
    return Table(f"The recipe of params.yaml: {task.describe()}", rows, ["Each in a process of its own, by turns."])
