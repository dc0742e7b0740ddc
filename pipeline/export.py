"""Stage export: models/model.safetensors, reports/ -> models/model.onnx, models/formats/, card, reports/export.json."""

import shutil
from pathlib import Path

import onnx

from lifline.command import run_command
from lifline.data.datasets import load_dataset
from lifline.evaluation.report import EvaluationReport
from lifline.export.card import model_card
from lifline.export.formats import Subject, export_as
from lifline.models.model import load_model_for
from lifline.params import read_params
from lifline.paths import (
    DATA,
    EVALUATION,
    EXPORT_METRICS,
    FIGURES,
    FIRING_RATES,
    FORMATS,
    MODEL,
    MODEL_CARD,
    ONNX_MODEL,
    PREDICTIONS,
)
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
        for output in (ONNX_MODEL, MODEL_CARD):
            output.unlink(missing_ok=True)
        shutil.rmtree(FORMATS, ignore_errors=True)
        exports = {}
        for name in params.export.formats:
            exports[name] = export_as(name, subject)
            print(*exports[name].sentences, sep="\n", flush=True)
        card = model_card(described, dataset, evaluation, exports)
        files = {name: content for export in exports.values() for name, content in export.files.items()}
        figures = {name: export.figures for name, export in exports.items()}
        FORMATS.mkdir(parents=True)
        for name, content in files.items():
            write_bytes(MODEL.parent / name, content)
        write_json(EXPORT_METRICS, figures)
        write_bytes(MODEL_CARD, card.encode())
        run.log_dataset(dataset, "test")
        pictures = FIGURES.glob("*.png")  # with the rest of what evaluate made, which DVC may have skipped
        run.log_missing({"test": evaluation.as_metrics()}, EVALUATION, PREDICTIONS, FIRING_RATES, *pictures)
        run.log_metrics({"export": figures})
        run.log_files(EXPORT_METRICS, MODEL_CARD, Path("dvc.lock"))
        content = files.pop(ONNX_MODEL.name)
        model_id = run.log_onnx(onnx.load_from_string(content), files | {PREDICTIONS.name: PREDICTIONS.read_bytes()})
        facts = Facts(
            test_accuracy=evaluation.accuracy,
            class_mismatches=max(export.class_mismatches for export in exports.values()),
            num_steps=params.network.num_steps,
            spikes_per_image=sum(evaluation.spikes_per_image.values()),
            onnx_bytes=len(content),
        )
        version = register(run, model_id, facts, card)
    print(f"registered as version {version}")


if __name__ == "__main__":
    run_command(main)
