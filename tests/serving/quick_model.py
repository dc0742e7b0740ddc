"""A network for tests that need answers, trained in a second and right on 14 digits of 15; and its server."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lifline.data.datasets import MNIST
from lifline.data.images import LabelledImages
from lifline.export.onnx import to_onnx
from lifline.models.model import new_network
from lifline.params import Params
from lifline.system.files import write_bytes
from lifline.system.locks import locked
from lifline.training.fit import TrainingState, fit
from tests.conftest import changed, first

NUM_HIDDEN = [60, 40]
NUM_STEPS = 5
WITHOUT_PYTORCH = (
    "import sys; sys.modules |= dict.fromkeys(['torch', 'mlflow', 'matplotlib']); from lifline.cli import main; main()"
)


def quick_model(folders: pytest.TempPathFactory, params: Params, training_images: LabelledImages) -> Path:
    """The ONNX file of a network with two hidden layers, made once for all processes of a test run."""
    folder = folders.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    path = folder / "quick_model.onnx"
    with locked(folder / "quick_model.lock"):
        if not path.exists():
            write_bytes(path, _train(params, training_images))
    return path


def _train(params: Params, training_images: LabelledImages) -> bytes:
    quick = changed(
        params,
        network={"hidden": NUM_HIDDEN, "num_steps": NUM_STEPS, "beta": 0.9},
        train={"epochs": 3, "batch_size": 100, "learning_rate": 3e-3, "loss": "rate_mse"},
    )
    state = TrainingState(new_network(quick.network, MNIST, seed=1), seed=1)
    for _ in fit(state, first(training_images, 40_000), first(training_images, 100), quick):
        pass
    model = to_onnx(state.network, quick.network.decoding, {"class_names": list(MNIST.class_names)})
    return model.SerializeToString()


@contextmanager
def serving(model: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`lifline serve` as a process, where PyTorch cannot be imported; yields it and its address."""
    process = subprocess.Popen(
        [sys.executable, "-c", WITHOUT_PYTORCH, "serve", "--port", "0", "--model", str(model)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        yield process, re.search(r"http://127\.0\.0\.1:\d+", line)[0]
    finally:
        process.kill()
        process.communicate()
