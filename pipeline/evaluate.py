"""Stage evaluate: models/model.safetensors, images -> reports/: metrics, evaluation, tables, figures/."""

from lifline.command import run_stage
from lifline.data.datasets import load_dataset
from lifline.data.images import split_training_images
from lifline.device import choose_device
from lifline.evaluation.evaluate import DECISION_COLUMNS, evaluate, evaluate_by_num_steps, report_on
from lifline.figures.evaluation import evaluation_figures
from lifline.models.model import load_model_for
from lifline.params import read_params
from lifline.paths import DATA, EVALUATION, FIGURES, FIRING_RATES, GATE, MODEL, PREDICTIONS, TEST_METRICS
from lifline.system.files import sha256_of, write_bytes, write_csv, write_json
from lifline.tracking import runs as tracking


def main() -> None:
    """Show the trained network all test images, stopped after each of its steps and whole."""
    params = read_params()
    device = choose_device(params.train.device)
    dataset = load_dataset(DATA)
    model, model_sha256 = load_model_for(params.network, dataset.info, MODEL), sha256_of(MODEL)
    model.network.to(device)
    test, gate = dataset.test.to(device), split_training_images(dataset.train, params.data).gate.to(device)
    with tracking.run_of_model(model_sha256, params) as run:
        run.log_dataset(dataset, "test")
        evaluations = evaluate_by_num_steps(model, test)
        evaluation = evaluations[-1]
        write_csv(PREDICTIONS, DECISION_COLUMNS, evaluation.class_pairs())
        write_csv(GATE, DECISION_COLUMNS, evaluate(model, gate).class_pairs() if params.data.gate_size else [])
        report = report_on(evaluations, model_sha256, {path.name: sha256_of(path) for path in (PREDICTIONS, GATE)})
        report.write(EVALUATION)
        write_json(TEST_METRICS, report.as_headline())
        bins = list(evaluation.firing_rate_histogram())
        write_csv(FIRING_RATES, list(bins[0]), (each.values() for each in bins))
        figures = evaluation_figures(model, test, evaluations)
        for name, png in figures.items():
            write_bytes(FIGURES / name, png)
        run.log_metrics({"test": report.as_metrics()})
        run.log_files(EVALUATION, PREDICTIONS, FIRING_RATES, *(FIGURES / name for name in figures))
        if params.data.gate_size:
            run.log_files(GATE)
    print(f"test accuracy {report.accuracy:.2%} ({report.correct} of {report.total})")


if __name__ == "__main__":
    run_stage(main)
