"""The exported network in ONNX Runtime."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor

from benchmarks.contestants.classification import Classify, all_images, one_by_one
from benchmarks.contestants.lifline_network import new_network
from benchmarks.task import IMAGE_SHAPE, Task
from lifline.choices import Decoding
from lifline.export.onnx import to_onnx
from lifline.models.model import load_model
from lifline.paths import MODEL
from lifline.snn import SpikingNetwork


def classify_all(task: Task, mnist: Path) -> Iterator[int]:
    """Run the model on the test set."""
    return all_images(_classifier(task), mnist)


def classify_one(task: Task, mnist: Path) -> Iterator[int]:
    """Run the model on single images."""
    return one_by_one(_classifier(task), mnist)


def classify_one_trained(_task: Task, mnist: Path) -> Iterator[int]:
    """Run the trained model of `models/` on single images, on one thread."""
    trained = load_model(MODEL)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return one_by_one(_session(trained.network, trained.params.decoding, options), mnist)


@cache
def _classifier(task: Task) -> Classify:
    return _session(new_network(task, IMAGE_SHAPE), "rate", onnxruntime.SessionOptions())


def _session(network: SpikingNetwork, decoding: Decoding, options: onnxruntime.SessionOptions) -> Classify:
    content = to_onnx(network, decoding, metadata={}).SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def classify(images: Tensor) -> Tensor:
        (classes,) = session.run(["class"], {"image": images.reshape(-1, *IMAGE_SHAPE).numpy()})
        return torch.from_numpy(classes)

    return classify
