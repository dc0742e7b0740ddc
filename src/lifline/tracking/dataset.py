"""The data set as MLflow knows it."""

import json

from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from lifline.data.datasets import MNIST

DATASET_URL = "http://yann.lecun.com/exdb/mnist/"


def dataset_input(name: str, context: str) -> DatasetInput:
    """MNIST, by its hash, as what a run reads for a purpose such as `training`."""
    source = json.dumps({"url": DATASET_URL})
    dataset = Dataset(name=name, digest=MNIST.sha256[:16], source_type="http", source=source)
    return DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, context)])
