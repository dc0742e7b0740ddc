"""Stage export: models/model.safetensors, reports/ -> models/model.onnx, models/formats/, card, reports/export.json."""

from pathlib import Path

from lifline import paths
from lifline.command import run_stage
from lifline.data.datasets import load_dataset
from lifline.evaluation.report import EvaluationReport
from lifline.export.card import model_card
from lifline.export.formats import Subject, export_all, remove_exports, write_exports
from lifline.models.model import load_model_for
from lifline.params import read_params
from lifline.system.files import sha256_of, write_bytes, write_json
from lifline.tracking import runs as tracking
from lifline.tracking.dataset import sha256_of_test_images
from lifline.tracking.registry import Facts, register


def main() -> None:
    """Export the trained network in each format, and prove on all test images that it is the same network."""
    params = read_params()
    dataset = load_dataset(paths.DATA)
    trained, model_sha256 = load_model_for(params.network, dataset.info, paths.MODEL), sha256_of(paths.MODEL)
    described = params.with_values({"data.dataset": dataset.info.name})  # no path
    evaluation = EvaluationReport.read(paths.EVALUATION, model_sha256)
    evaluation.check_decisions(paths.PREDICTIONS, paths.GATE)
    subject = Subject(trained, model_sha256, described, dataset, evaluation.accuracy)
    with tracking.run_of_model(model_sha256, params) as run:
        remove_exports()
        exports = export_all(subject, lambda line: print(line, flush=True))
        card = model_card(described, dataset, evaluation, exports)
        files = write_exports(exports)
        write_json(paths.EXPORT_REPORT, {name: export.figures for name, export in exports.items()})
        write_bytes(paths.MODEL_CARD, card.encode())
        run.log_dataset(dataset, "test")
        decisions = [paths.PREDICTIONS, paths.GATE] if params.data.gate_size else [paths.PREDICTIONS]
        made = [paths.EVALUATION, paths.FIRING_RATES, *decisions, *paths.FIGURES.glob("*.png")]  # by evaluate
        run.log_missing({"test": evaluation.as_metrics()}, *made)  # where DVC has skipped evaluate
        run.log_metrics({"export": {name: export.metrics for name, export in exports.items()}})
        run.log_files(paths.EXPORT_REPORT, paths.MODEL_CARD, Path("dvc.lock"))
        content = files.pop(paths.ONNX_MODEL.name)
        model_id = run.log_onnx(content, files | {path.name: path.read_bytes() for path in decisions})
        facts = Facts(
            test_accuracy=evaluation.accuracy,
            class_mismatches=max(export.class_mismatches for export in exports.values()),
            data_sha256=dataset.sha256,
            test_sha256=sha256_of_test_images(dataset),
            gate_size=params.data.gate_size,
            num_steps=params.network.num_steps,
            spikes_per_image=sum(evaluation.spikes_per_image.values()),
            onnx_bytes=len(content),
            energy_nanojoules=evaluation.energy_with_memory_nanojoules_per_image,
        )
        version = register(run, model_id, facts, card)
    print(f"registered as version {version}")


if __name__ == "__main__":
    run_stage(main)
