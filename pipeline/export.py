"""Stage export: models/model.safetensors, reports/ -> models/model.onnx, models/model_card.md, reports/export.json."""

from pathlib import Path

from lifline.command import run_command
from lifline.data.datasets import load_dataset
from lifline.evaluation.report import EvaluationReport
from lifline.export.card import model_card
from lifline.export.onnx import compare_with_network, onnx_metadata, require_equality, to_onnx
from lifline.models.model import load_model_for
from lifline.params import read_params
from lifline.paths import (
    DATA,
    EVALUATION,
    EXPORT_METRICS,
    FIGURES,
    FIRING_RATES,
    MODEL,
    MODEL_CARD,
    ONNX_MODEL,
    PREDICTIONS,
)
from lifline.system.files import sha256_of, write_bytes, write_json
from lifline.tracking import runs as tracking
from lifline.tracking.registry import register


def main() -> None:
    """Export the trained network to ONNX, and prove on all test images that it is the same network."""
    params = read_params()
    dataset = load_dataset(DATA)
    trained, model_sha256 = load_model_for(params.network, dataset.info, MODEL), sha256_of(MODEL)
    network, decoding = trained.network, params.network.decoding
    described = params.with_values({"data.dataset": dataset.info.name})  # no path
    evaluation = EvaluationReport.read(EVALUATION, model_sha256)
    with tracking.run_of_model(model_sha256, params) as run:
        model = to_onnx(network, decoding, onnx_metadata(described, trained.dataset, model_sha256, evaluation.accuracy))
        comparison = compare_with_network(model, network, decoding, dataset.test)
        for output in (ONNX_MODEL, MODEL_CARD):
            output.unlink(missing_ok=True)
        require_equality(comparison, params.export.max_class_mismatches)
        card = model_card(described, dataset, evaluation, comparison)
        write_bytes(ONNX_MODEL, model.SerializeToString(deterministic=True))
        write_json(EXPORT_METRICS, comparison._asdict())
        write_bytes(MODEL_CARD, card.encode())
        run.log_dataset(dataset, "test")
        figures = FIGURES.glob("*.png")  # with the rest of what evaluate made, which DVC may have skipped
        run.log_missing({"test": evaluation.as_metrics()}, EVALUATION, PREDICTIONS, FIRING_RATES, *figures)
        run.log_metrics({"export": comparison._asdict()})
        run.log_files(EXPORT_METRICS, MODEL_CARD, Path("dvc.lock"))
        version = register(run, run.log_onnx(model), evaluation.accuracy, comparison.class_mismatches, card)
    print(f"{comparison.describe()}; registered as version {version}")


if __name__ == "__main__":
    run_command(main)
