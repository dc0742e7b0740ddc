"""The integer network: the wait for a single image, its C beside ONNX Runtime on one thread."""

import shutil
from contextlib import ExitStack

from benchmarks.contestants import Contestant
from benchmarks.race import race, start_workers
from benchmarks.report import Table, spread
from benchmarks.sections import Settings
from benchmarks.task import Task
from lifline.errors import LiflineError
from lifline.models.model import load_model
from lifline.params import NetworkParams
from lifline.paths import MODEL

CLASSIFIERS = {
    "onnx": Contestant("ONNX Runtime, one thread", "onnx_network:classify_one_trained"),
    "plain": Contestant("integer network in C, -O2", "integer_network:classify_one"),
    "native": Contestant("integer network in C, -O3 -march=native", "integer_network:classify_one_native"),
}
NUM_COMPARED = 400
TOLERANCE_IMAGES = 4  # on which 8 bits may decide otherwise


def measure(settings: Settings) -> Table:
    """Race them on single test images.

    Raises:
        LiflineError: there is no trained model or C compiler, or they do not decide alike.
    """
    params = load_model(MODEL).params
    if shutil.which("cc") is None:
        raise LiflineError("cc, the system's C compiler, cannot be found; the integer network's C is compiled by it")
    rounds = 1 if settings.is_quick else 10
    with ExitStack() as stack:
        workers, classes = start_workers(stack, CLASSIFIERS, Task(), settings.mnist, 1 + NUM_COMPARED)
        _check_agreement(classes)
        singles = race(workers, rounds, iterations=200)
    rows = [
        {"network": classifier.label} | spread([1e6 * seconds for seconds in singles[name]], "µs for one")
        for name, classifier in CLASSIFIERS.items()
    ]
    return Table("Integer network", rows, _notes(params))


def _check_agreement(classes: dict[str, list[float]]) -> None:
    if classes["plain"] != classes["native"]:
        raise LiflineError("the C of the integer network decides otherwise by other options of the compiler")
    num_different = sum(a != b for a, b in zip(classes["onnx"], classes["plain"], strict=True))
    if num_different > TOLERANCE_IMAGES:
        raise LiflineError(f"the integer network decides otherwise on {num_different} of {NUM_COMPARED} images")


def _notes(params: NetworkParams) -> list[str]:
    return [
        f"The trained network of {MODEL}, {params.layers}, T = {params.num_steps}; test images, one at a time.",
        "All are called from Python, which is counted in.",
    ]
