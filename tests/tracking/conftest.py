import pytest

from lifline.tracking import runs as tracking
from lifline.tracking.evidence import DECISIONS
from lifline.tracking.registry import Facts, register
from tests.tracking.runs import tiny_onnx

NUM_IMAGES = 10_000


@pytest.fixture
def export(store, params):
    """Log and register a model as the stage does; equal brightness, equal model.

    It is right on as many of the first images as its accuracy says, but for `missed` of them, and on as many later;
    alike of gate images, where it has a `gate` accuracy.
    """

    def log(
        accuracy,
        brightness=1,
        mismatches=0,
        card="# A card",
        spikes=800.0,
        missed=0,
        data="images",
        test=None,
        energy=8_000.0,
        gate=None,
        dataset="mnist",
    ):
        size = NUM_IMAGES if gate else 0
        facts = Facts(accuracy, mismatches, data, test or f"tests of {data}", 10, spikes, 4_000, energy, size)
        files = {DECISIONS["test images"]: decisions(accuracy, missed)}
        if gate:
            files[DECISIONS["gate images"]] = decisions(gate, missed)
        with tracking.run_of_model(f"{brightness:064x}", params.with_values({"data.dataset": dataset})) as run:
            model_id = run.log_onnx(tiny_onnx(brightness).SerializeToString(), files)
            return register(run, model_id, facts, card)

    return log


def decisions(accuracy, missed):
    num_right = round(accuracy * NUM_IMAGES)
    is_right = [missed <= image < num_right + missed for image in range(NUM_IMAGES)]
    return "\n".join(["actual,predicted", *(f"7,{7 if right else 1}" for right in is_right)]).encode()
