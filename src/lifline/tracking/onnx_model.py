"""An exported network as a model of MLflow's: a folder that `mlflow.pyfunc.load_model` loads."""

from importlib.metadata import version
from pathlib import Path

import mlflow.onnx
import numpy as np
import onnx
from mlflow.entities import LoggedModel
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

REQUIREMENTS = ("mlflow", "numpy", "onnx", "onnxruntime")


def save_onnx_model(model: onnx.ModelProto, folder: Path, logged: LoggedModel) -> None:
    """Write the folder of a logged model.

    Its signature has outputs alone: one of inputs would refuse float64, NumPy's default, which MLflow casts to what
    ONNX asks for. What the input is stands in the metadata, and ONNX Runtime checks its shape.
    """
    (image,) = model.graph.input
    spec = _spec(image)
    example = np.zeros([1 if length == -1 else length for length in spec.shape], dtype=spec.type)
    mlflow.onnx.save_model(
        model,
        str(folder),
        mlflow_model=Model(
            artifact_path=logged.artifact_location,
            run_id=logged.source_run_id,
            model_uuid=logged.model_id,
            model_id=logged.model_id,
        ),
        signature=ModelSignature(outputs=Schema([_spec(output) for output in model.graph.output])),
        input_example={image.name: example},
        metadata={"input": f"{image.name}: {spec.type} or float64 {spec.shape}, 0 to 1"},
        pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
    )


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    """An input or output of a model; axes without a fixed length have -1."""
    tensor = value.type.tensor_type
    shape = tuple(axis.dim_value or -1 for axis in tensor.shape.dim)
    return TensorSpec(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type), shape, value.name)
