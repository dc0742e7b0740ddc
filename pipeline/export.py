"""Stage export: models/model.safetensors, reports/ -> models/model.onnx, models/formats/, card, reports/export.json."""

from pathlib import Path
from typing import Any

from lifline.choices import FormatName
from lifline.command import run_command
from lifline.data.datasets import load_dataset
from lifline.evaluation.report import EvaluationReport
from lifline.export.card import model_card
from lifline.export.formats import Export, Subject, export_as, remove_exports, write_exports
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
)  # fmt: skip
from lifline.system.files import sha256_of, write_bytes, write_json
from lifline.tracking import runs as tracking
from lifline.tracking.registry import Facts, register


def main() -> None:
    """Export the trained network in each format, and prove on all test images that it is the same network."""
    params = read_params()
    dataset = load_dataset(DATA)
    trained, model_sha256 = load_model_for(params.network, dataset.info, MODEL), sha256_of(MODEL)
    described = params.with_values({"data.dataset": dataset.info.name})  # no path
    evaluation = EvaluationReport.read(EVALUATION, model_sha256)
    subject = Subject(trained, model_sha256, described, dataset, evaluation.accuracy)
    with tracking.run_of_model(model_sha256, params) as run:
        remove_exports()
        MODEL_CARD.unlink(missing_ok=True)
        exports: dict[FormatName, Export] = {}
        for wanted in params.export.formats:
            exports[wanted] = export_as(wanted, subject)
            print(*exports[wanted].sentences, sep="\n", flush=True)
        card = model_card(described, dataset, evaluation, exports)
        files = write_exports(exports)
        figures: dict[str, Any] = {format_name: export.figures for format_name, export in exports.items()}
        write_json(EXPORT_METRICS, figures)
        write_bytes(MODEL_CARD, card.encode())
        run.log_dataset(dataset, "test")
        pictures = FIGURES.glob("*.png")  # with the rest of what evaluate made, which DVC may have skipped
        run.log_missing({"test": evaluation.as_metrics()}, EVALUATION, PREDICTIONS, FIRING_RATES, *pictures)
        run.log_metrics({"export": figures})
        run.log_files(EXPORT_METRICS, MODEL_CARD, Path("dvc.lock"))
        content = files.pop(ONNX_MODEL.name)
        model_id = run.log_onnx(content, files | {PREDICTIONS.name: PREDICTIONS.read_bytes()})
        mismatches = max(export.class_mismatches for export in exports.values())
        spikes = sum(evaluation.spikes_per_image.values())
        facts = Facts(evaluation.accuracy, mismatches, params.network.num_steps, spikes, len(content))
        version = register(run, model_id, facts, card)
    print(f"registered as version {version}")


if __name__ == "__main__":
    run_command(main)
