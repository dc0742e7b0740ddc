"""Stage train: data/mnist/, params.yaml -> models/model.safetensors, reports/train.json, reports/loss.csv."""

from collections.abc import Iterator

from lifline import tracking
from lifline.data.batches import split_off_validation
from lifline.data.mnist import load_mnist
from lifline.device import choose_device, describe_device
from lifline.errors import run_command
from lifline.files import LOSS, MNIST, MODEL, TRAIN_METRICS, sha256_of, write_csv, write_json
from lifline.model_file import new_network, save_network
from lifline.params import read_params
from lifline.training import EpochReport, fit
from lifline.training_display import training_display

ITERATIONS_PER_POINT = 10
LOSS_COLUMNS = ["iteration", "epoch", "train_loss", "validation_loss", "validation_accuracy"]


def main() -> None:
    """Train the network that the params describe, and track it."""
    params = read_params()
    device = choose_device(params.train.device)
    training, validation = (
        part.to(device) for part in split_off_validation(load_mnist(MNIST, "train"), params.data.validation_size)
    )
    with tracking.training_run(params, describe_device(device)):
        tracking.log_dataset("mnist-train", "training")
        network = new_network(params.network, params.train.seed).to(device)
        num_iterations = params.train.epochs * -(-len(training.labels) // params.train.batch_size)
        reports: list[EpochReport] = []
        with training_display(num_iterations) as display:
            for report in fit(network, training, validation, params.train, params.network.decoding, display.show_step):
                display.show_epoch(report)
                tracking.log_epoch(report)
                reports.append(report)
        save_network(network, params.network, MODEL)
        write_json(TRAIN_METRICS, {"epochs": report.epoch, "iterations": report.iteration} | report.as_metrics())
        write_csv(LOSS, LOSS_COLUMNS, loss_points(reports))
        tracking.log_files(TRAIN_METRICS, LOSS)
        tracking.tag_model(sha256_of(MODEL))


def loss_points(reports: list[EpochReport]) -> Iterator[tuple[object, ...]]:
    """Rows of the loss plot: the training loss every few iterations, validation at each epoch's end."""
    for report in reports:
        first = report.iteration - len(report.losses) + 1
        for iteration, loss in enumerate(report.losses, start=first):
            if iteration == report.iteration:
                yield iteration, report.epoch, loss, report.validation_loss, report.validation_accuracy
            elif iteration % ITERATIONS_PER_POINT == 0:
                yield iteration, report.epoch, loss, None, None


if __name__ == "__main__":
    run_command(main)
