"""Stage evaluate: models/model.safetensors, data/mnist/ -> reports/: evaluation.json, two tables, figures/."""

from lifline.command import run_command
from lifline.data.mnist import load_mnist
from lifline.device import choose_device
from lifline.evaluation.evaluate import evaluate_by_num_steps
from lifline.figures.evaluation import evaluation_figures
from lifline.models import load_network_for
from lifline.params import read_params
from lifline.paths import EVALUATION, FIGURES, FIRING_RATES, MNIST, MODEL, PREDICTIONS
from lifline.system.files import sha256_of, write_bytes, write_csv, write_json
from lifline.tracking import runs as tracking


def main() -> None:
    """Show the trained network all test images, stopped after each of its steps and whole."""
    params = read_params()
    device = choose_device(params.train.device)
    network = load_network_for(params.network, MODEL).to(device)
    test = load_mnist(MNIST, "test").to(device)
    with tracking.run_of_model(sha256_of(MODEL), params) as run:
        run.log_dataset("mnist-test", "test")
        evaluations = evaluate_by_num_steps(network, test, params.network.decoding)
        evaluation = evaluations[-1]
        metrics = evaluation.as_metrics()
        write_json(EVALUATION, metrics | {"by_num_steps": [stopped.as_point() for stopped in evaluations]})
        columns = {"actual": evaluation.labels, "predicted": evaluation.decided}
        write_csv(PREDICTIONS, list(columns), zip(*(column.tolist() for column in columns.values()), strict=True))
        bins = list(evaluation.firing_rate_histogram())
        write_csv(FIRING_RATES, list(bins[0]), (each.values() for each in bins))
        figures = evaluation_figures(network, test, evaluations)
        for name, png in figures.items():
            write_bytes(FIGURES / name, png)
        run.log_metrics({"test": metrics})
        run.log_files(EVALUATION, PREDICTIONS, FIRING_RATES, *(FIGURES / name for name in figures))
    print(f"test accuracy {metrics['accuracy']:.2%} ({metrics['correct']} of {metrics['total']})")


if __name__ == "__main__":
    run_command(main)
