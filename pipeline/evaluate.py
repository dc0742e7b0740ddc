"""Stage evaluate: models/model.safetensors, the test images -> reports/: metrics, evaluation, two tables, figures/."""

from lifline.command import run_stage
from lifline.data.datasets import load_dataset
from lifline.device import choose_device
from lifline.evaluation.evaluate import evaluate_by_num_steps, report_on
from lifline.figures.evaluation import evaluation_figures
from lifline.models.model import load_model_for
from lifline.params import read_params
from lifline.paths import DATA, EVALUATION, FIGURES, FIRING_RATES, MODEL, PREDICTIONS, TEST_METRICS
from lifline.system.files import sha256_of, write_bytes, write_csv, write_json
from lifline.tracking import runs as tracking


def main() -> None:
    """Show the trained network all test images, stopped after each of its steps and whole."""
    params = read_params()
    device = choose_device(params.train.device)
    dataset = load_dataset(DATA)
    model, model_sha256 = load_model_for(params.network, dataset.info, MODEL), sha256_of(MODEL)
    model.network.to(device)
    test = dataset.test.to(device)
    with tracking.run_of_model(model_sha256, params) as run:
        run.log_dataset(dataset, "test")
        evaluations = evaluate_by_num_steps(model, test)
        report, evaluation = report_on(evaluations, model_sha256), evaluations[-1]
        report.write(EVALUATION)
        write_json(TEST_METRICS, report.as_headline())
        write_csv(PREDICTIONS, ["actual", "predicted"], evaluation.class_pairs())
        bins = list(evaluation.firing_rate_histogram())
        write_csv(FIRING_RATES, list(bins[0]), (each.values() for each in bins))
        figures = evaluation_figures(model, test, evaluations)
        for name, png in figures.items():
            write_bytes(FIGURES / name, png)
        run.log_metrics({"test": report.as_metrics()})
        run.log_files(EVALUATION, PREDICTIONS, FIRING_RATES, *(FIGURES / name for name in figures))
    print(f"test accuracy {report.accuracy:.2%} ({report.correct} of {report.total})")


if __name__ == "__main__":
    run_stage(main)
