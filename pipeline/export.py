"""Stage export: models/model.safetensors, reports/evaluation.json -> models/model.onnx, reports/export.json."""

from pathlib import Path

from lifline import tracking
from lifline.data.mnist import CLASS_NAMES, load_mnist
from lifline.errors import run_command
from lifline.evaluation import read_metrics
from lifline.export import compare_with_network, require_equality, to_onnx
from lifline.files import (
    EVALUATION,
    EXPORT_METRICS,
    MNIST,
    MODEL,
    ONNX_MODEL,
    PREDICTIONS,
    sha256_of,
    write_bytes,
    write_json,
)
from lifline.model_file import load_network_for
from lifline.params import read_params


def main() -> None:
    """Export the trained network to ONNX, and prove on all test images that it is the same network."""
    params = read_params()
    network = load_network_for(params.network, MODEL)
    test = load_mnist(MNIST, "test")
    evaluation = read_metrics(EVALUATION)
    model_sha256 = sha256_of(MODEL)
    with tracking.run_of_model(model_sha256, params):
        metadata = {
            "params": params.flat(),
            "model_sha256": model_sha256,
            "test_accuracy": evaluation["accuracy"],
            "class_names": CLASS_NAMES,
        }
        model = to_onnx(network, params.network.decoding, metadata)
        comparison = compare_with_network(model, network, params.network.decoding, test)
        ONNX_MODEL.unlink(missing_ok=True)
        require_equality(comparison, params.export.max_class_mismatches)
        write_bytes(ONNX_MODEL, model.SerializeToString(deterministic=True))
        write_json(EXPORT_METRICS, comparison._asdict())
        tracking.log_dataset("mnist-test", "test")
        tracking.log_missing({"test": evaluation}, EVALUATION, PREDICTIONS)  # DVC may have skipped evaluate
        tracking.log_metrics({"export": comparison._asdict()})
        tracking.log_onnx(model, params.network.num_steps)
        tracking.log_files(EXPORT_METRICS, Path("dvc.lock"))
    print(comparison.describe())


if __name__ == "__main__":
    run_command(main)
