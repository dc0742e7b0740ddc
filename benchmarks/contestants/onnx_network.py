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
from lifline.export.onnx import to_onnx


def classify_all(task: Task, mnist: Path) -> Iterator[int]:
    """Run the model on the test set."""
    return all_images(_classifier(task), mnist)


def classify_one(task: Task, mnist: Path) -> Iterator[int]:
    """Run the model on single images."""
    return one_by_one(_classifier(task), mnist)


@cache
def _classifier(task: Task) -> Classify:
    model = to_onnx(new_network(task, IMAGE_SHAPE), "rate", metadata={})
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    def classify(images: Tensor) -> Tensor:
        (classes,) = session.run(["class"], {"image": images.reshape(-1, *IMAGE_SHAPE).numpy()})
        return torch.from_numpy(classes)

    return classify
