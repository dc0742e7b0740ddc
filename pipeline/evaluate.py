"""Stage evaluate: models/model.safetensors, data/mnist/ -> reports/evaluation.json, reports/predictions.csv."""

from lifline import tracking
from lifline.data.mnist import load_mnist
from lifline.device import choose_device
from lifline.errors import run_command
from lifline.evaluation import evaluate_by_num_steps
from lifline.files import EVALUATION, MNIST, MODEL, PREDICTIONS, sha256_of, write_csv, write_json
from lifline.model_file import load_network_for
from lifline.params import read_params


def main() -> None:
    """Show the trained network all test images, stopped after each of its steps and whole."""
    params = read_params()
    device = choose_device(params.train.device)
    network = load_network_for(params.network, MODEL).to(device)
    test = load_mnist(MNIST, "test").to(device)
    with tracking.run_of_model(sha256_of(MODEL), params):
        tracking.log_dataset("mnist-test", "test")
        evaluations = evaluate_by_num_steps(network, test, params.network.decoding)
        evaluation = evaluations[-1]
        metrics = evaluation.as_metrics()
        write_json(EVALUATION, metrics | {"by_num_steps": [stopped.as_point() for stopped in evaluations]})
        predicted = evaluation.predictions[params.network.decoding]
        write_csv(
            PREDICTIONS,
            ["actual", "predicted"],
            zip(evaluation.labels.tolist(), predicted.tolist(), strict=True),
        )
        tracking.log_metrics({"test": metrics})
        tracking.log_files(EVALUATION, PREDICTIONS)
    print(f"test accuracy {metrics['accuracy']:.2%} ({metrics['correct']} of {metrics['total']})")


if __name__ == "__main__":
    run_command(main)
