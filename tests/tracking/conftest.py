import pytest

from lifline.tracking import runs as tracking
from lifline.tracking.registry import register
from tests.tracking.runs import tiny_onnx


@pytest.fixture
def export(store, params):
    """Log and register a model as the stage does; equal brightness, equal model."""

    def log(accuracy, brightness=1, mismatches=0, card="# A card"):
        with tracking.run_of_model(f"{brightness:064x}", params) as run:
            return register(run, run.log_onnx(tiny_onnx(brightness)), accuracy, mismatches, card)

    return log
