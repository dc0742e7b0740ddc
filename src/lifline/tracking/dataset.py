"""A data set as MLflow knows it."""

import hashlib
import json
from typing import TYPE_CHECKING, Literal

from mlflow import entities
from mlflow.entities import DatasetInput, InputTag
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from lifline.tracking.tags import DATA_CLASSES_TAG, DATA_SHAPE_TAG
from lifline.tracking.uri import without_credentials

if TYPE_CHECKING:  # it needs PyTorch, which the registry does without
    from lifline.data.datasets import Dataset

Part = Literal["train", "test"]
CONTEXTS = {"train": "training", "test": "test"}


def dataset_input(dataset: "Dataset", part: Part, source: str) -> DatasetInput:
    """A part of a data set, by the hash of the whole, as what a run reads; its source is who served it."""
    served_by = source.rpartition("_SOURCE=")[2]  # where a variable named it
    if is_web := served_by.startswith(("http://", "https://")):
        served_by = without_credentials(served_by)
    known = entities.Dataset(
        name=f"{dataset.info.name}-{part}",
        digest=dataset.sha256[:16],
        source_type="http" if is_web else "external",
        source=json.dumps({"url" if is_web else "uri": served_by, "published": dataset.info.published}),
    )
    return DatasetInput(known, [InputTag(MLFLOW_DATASET_CONTEXT, CONTEXTS[part])])


def data_tags(dataset: "Dataset", source: str) -> dict[str, str]:
    """Tags that tell which images a run reads."""
    return {
        "data": dataset.info.title,
        "data_sha256": dataset.sha256,
        "test_sha256": sha256_of_test_images(dataset),
        "data_source": source,
        DATA_SHAPE_TAG: "x".join(map(str, dataset.info.shape)),
        DATA_CLASSES_TAG: str(len(dataset.info.class_names)),
    }


def sha256_of_test_images(dataset: "Dataset") -> str:
    """Return a hash of the test images, with their labels: equal where networks are tested alike."""
    images, labels = dataset.test
    digest = hashlib.sha256(json.dumps([dataset.info.class_names, list(images.shape)]).encode())
    for tensor in (images, labels):
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
