"""Inference: test images per second in batches, and the wait for a single one."""

from contextlib import ExitStack

from benchmarks.contestants import FUSED, Contestant
from benchmarks.race import race, start_workers
from benchmarks.report import Table, spread
from benchmarks.sections import Settings
from benchmarks.task import Task
from lifline.errors import LiflineError

NUM_IMAGES = 10_000
ALL, ONE = "classify_all", "classify_one"
CLASSIFIERS = {
    "lifline": Contestant("lifline, PyTorch", f"lifline_network:{ALL}", FUSED),
    "onnx": Contestant("lifline, ONNX Runtime", f"onnx_network:{ALL}", FUSED),
    "tutorial": Contestant("snnTorch, tutorial", f"snntorch_networks:{ALL}"),
}
TOLERANCE_IMAGES = 10  # a membrane at the threshold fires or not by rounding
WARM_UP = 2  # the first only makes ready
NOTES = [
    "T = 25, 784-1000-10, first weights, class by spike count; without gradients, images ready in memory.",
    "Throughput: the 10,000 test images in batches of 500. All three get the same number right, checked to within "
    f"{TOLERANCE_IMAGES} images.",
]


def measure(settings: Settings) -> Table:
    """Race the classifiers, in batches and on single images.

    Raises:
        LiflineError: they do not decide alike.
    """
    rounds = 1 if settings.is_quick else 10
    with ExitStack() as stack:
        workers, values = start_workers(stack, CLASSIFIERS, Task(), settings.mnist, WARM_UP)
        _check_agreement({name: round(correct) for name, (_, correct) in values.items()})
        passes = race(workers, rounds, iterations=1)
        for name, worker in workers.items():
            worker.start(CLASSIFIERS[name].target.replace(ALL, ONE), Task(), settings.mnist)
            worker.advance(WARM_UP)
        singles = race(workers, rounds, iterations=50)
    rows = [
        {"network": classifier.label}
        | spread([NUM_IMAGES / seconds for seconds in passes[name]], "images/s")
        | spread([1e3 * seconds for seconds in singles[name]], "ms for one")
        for name, classifier in CLASSIFIERS.items()
    ]
    return Table("Inference", rows, NOTES)


def _check_agreement(correct: dict[str, int]) -> None:
    if max(correct.values()) - min(correct.values()) > TOLERANCE_IMAGES:
        raise LiflineError(f"classifiers that should be equal have {correct} of {NUM_IMAGES} images right")
