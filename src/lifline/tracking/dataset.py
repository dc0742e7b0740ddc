"""The data set as MLflow knows it."""

import json

from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from lifline.data.datasets import MNIST
from lifline.paths import SOURCE_VARIABLE
from lifline.provenance import recorded_source
from lifline.tracking.uri import without_credentials


def dataset_input(name: str, context: str) -> DatasetInput:
    """MNIST, by its hash, as what a run reads for a purpose such as `training`; its source is who served it."""
    served_by = recorded_source().removeprefix(f"{SOURCE_VARIABLE}=")
    if is_web := served_by.startswith(("http://", "https://")):
        served_by = without_credentials(served_by)
    source = json.dumps({"url" if is_web else "uri": served_by, "published": MNIST.source})
    dataset = Dataset(name=name, digest=MNIST.sha256[:16], source_type="http" if is_web else "external", source=source)
    return DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, context)])
