"""Networks for tests: one that is right on 24 digits of 25, trained in seconds, untrained ones; and their server."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest

from lifline.choices import Coding, Decoding
from lifline.data.images import LabelledImages
from lifline.data.info import DatasetInfo
from lifline.download.published import read_published
from lifline.export.onnx import onnx_metadata, to_onnx
from lifline.models.model import new_network
from lifline.params import Params
from lifline.snn.network import SpikingNetwork
from lifline.system.files import write_bytes
from lifline.training.fit import TrainingState, fit
from tests.conftest import MNIST, changed, first, once
from tests.processes import ROOT

NUM_HIDDEN = [60, 40]
NUM_STEPS = 5
WITHOUT_PYTORCH = (
    "import sys; sys.modules |= dict.fromkeys(['torch', 'mlflow', 'matplotlib']); from lifline.cli import main; main()"
)


FASHION, KUZUSHIJI, EMNIST = (
    read_published(ROOT / "data" / name).info(name) for name in ("fashion_mnist", "kmnist", "emnist_balanced")
)
COLOURED = DatasetInfo(
    name="own", title="Pets", shape=(3, 17, 23), class_names=("cat", "dog", "mouse"), preparation="plain"
)
SMALL = DatasetInfo(name="digits", title="Digits", shape=(1, 8, 8), class_names=("no", "yes"), preparation="plain")


def quick_model(folders: pytest.TempPathFactory, params: Params, training_images: LabelledImages) -> Path:
    """The ONNX file of a network with two hidden layers, made once for all processes of a test run."""
    return once(folders, "quick_model.onnx", lambda path: write_bytes(path, _train(params, training_images)))


def _train(params: Params, training_images: LabelledImages) -> bytes:
    quick = changed(
        params,
        network={"layers": "-".join(map(str, NUM_HIDDEN)), "num_steps": NUM_STEPS, "beta": 0.9},
        train={"epochs": 3, "batch_size": 100, "learning_rate": 3e-3, "schedule": "cosine", "loss": "rate_mse"},
        augmentation={"rotation": 8.0, "scale": 0.08, "shear": 0.1, "shift": 1.5, "elastic": 0.75},
    )
    state = TrainingState(new_network(quick.network, MNIST, seed=1), seed=1)
    for _ in fit(state, first(training_images, 40_000), first(training_images, 100), quick):
        pass
    return exported(quick, state.network, MNIST)


def untrained_model(
    folders: pytest.TempPathFactory, params: Params, dataset: DatasetInfo, coding: Coding = "constant"
) -> Path:
    """The ONNX file of an untrained network for the images of a data set, made once for all processes of a run."""
    small = changed(params, network={"layers": "4C3-MP2-30", "num_steps": NUM_STEPS, "beta": 0.9, "coding": coding})
    network = new_network(small.network, dataset, seed=1)
    name = f"{dataset.name} by {coding} and {small.network.decoding}.onnx"
    return once(folders, name, lambda path: write_bytes(path, exported(small, network, dataset)))


def exported(params: Params, network: SpikingNetwork, dataset: DatasetInfo) -> bytes:
    """An ONNX file, sealed."""
    metadata = onnx_metadata(params, dataset, "0" * 64, 0.9)
    return to_onnx(network, params.network.decoding, metadata).SerializeToString()


def silent_model(model: Path, path: Path, decoding: Decoding = "rate") -> Path:
    """A copy of `quick_model` whose output neurons never fire, said to decide by this decoding."""
    silent = without_seal(onnx.load(model))
    (bias,) = (tensor for tensor in silent.graph.initializer if tensor.name.endswith("layers.2.projection.bias"))
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(10, -1e6, np.float32), bias.name))
    (entry,) = (entry for entry in silent.metadata_props if entry.key == "params")
    entry.value = json.dumps(json.loads(entry.value) | {"network.decoding": decoding})
    onnx.save(silent, path)
    return path


def without_seal(model: onnx.ModelProto) -> onnx.ModelProto:
    """The file, such that it may be changed."""
    assert model.metadata_props.pop().key == "sha256"
    return model


@contextmanager
def serving(model: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`lifline serve` as a process, where PyTorch cannot be imported; yields it and its address."""
    process = subprocess.Popen(
        [sys.executable, "-c", WITHOUT_PYTORCH, "serve", "--port", "0", "--model", str(model), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        yield process, re.search(r"http://[\d.]+:\d+", line)[0]
    finally:
        process.kill()
        process.communicate()
