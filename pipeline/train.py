"""Stage train: the training images, params.yaml -> models/model.safetensors, reports/train.json, reports/loss.csv."""

from collections.abc import Iterator

from lifline.command import run_stage
from lifline.data.datasets import load_dataset
from lifline.data.inspection import inspect_dataset
from lifline.device import choose_device, describe_device
from lifline.experiments.checkpoint import checkpoint_of
from lifline.experiments.training import train_tracked
from lifline.models.model import Model, save_model
from lifline.params import read_params
from lifline.paths import DATA, LOSS, MODEL, TRAIN_METRICS
from lifline.system.files import sha256_of, write_csv, write_json
from lifline.tracking import runs as tracking
from lifline.training.report import EpochReport

ITERATIONS_PER_POINT = 10
LOSS_COLUMNS = ["iteration", "epoch", "train_loss", "validation_loss", "validation_accuracy"]


def main() -> None:
    """Train the network that the params describe, and track it."""
    params = read_params()
    device = choose_device(params.train.device)
    dataset = load_dataset(DATA)
    with (
        checkpoint_of(params, dataset.sha256, device) as checkpoint,
        tracking.training_run(params, describe_device(device)) as run,
    ):
        state = train_tracked(params, dataset, inspect_dataset(dataset), device, checkpoint, run)
        save_model(Model(state.network, params.network, dataset.info), MODEL)
        last = state.reports[-1]
        write_json(TRAIN_METRICS, last.as_headline())
        write_csv(LOSS, LOSS_COLUMNS, loss_points(state.reports))
        run.log_files(TRAIN_METRICS, LOSS)
        run.tag_model(sha256_of(MODEL))


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
    run_stage(main)
