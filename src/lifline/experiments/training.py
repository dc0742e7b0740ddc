"""A training as commands run it: shown while it runs, tracked, and able to go on where it was killed."""

import torch

from lifline.data.datasets import Dataset
from lifline.data.images import split_training_images
from lifline.data.inspection import DataFigures
from lifline.experiments.checkpoint import Checkpoint
from lifline.experiments.display import training_display
from lifline.figures.training import draw_training
from lifline.params import Params
from lifline.tracking.run import Run
from lifline.training.diagnosis import Finding, diagnose, figures_of
from lifline.training.fit import TrainingState, fit, iterations_per_epoch, new_training


def train_tracked(
    params: Params,
    dataset: Dataset,
    data_figures: DataFigures,
    device: torch.device,
    checkpoint: Checkpoint,
    run: Run,
) -> TrainingState:
    """Train a network on all training images of a data set but those held out, in a run of MLflow.

    Args:
        params: the recipe.
        dataset: what it learns from.
        data_figures: of the data set; what is wrong with it is warned of, too.
        device: where it is trained.
        checkpoint: from where it goes on.
        run: what it is logged to.

    Raises:
        TrainingError: the loss is no longer finite, or the checkpoint cannot be used.
        DataError: there are not more training images than are held out.
    """
    split = split_training_images(dataset.train, params.data)
    training, validation = split.training.to(device), split.validation.to(device)
    state = new_training(params, dataset.info, device)
    checkpoint.restore(state)
    run.log_dataset(dataset, "train")
    with training_display(params.train.epochs, iterations_per_epoch(training, params.train)) as display:
        if state.reports:
            display.show_resumption(state.reports[-1])
            run.log_resumption(state.reports)
        findings: list[Finding] = []
        for report in fit(state, training, validation, params, display.show_step):
            checkpoint.save(state)
            display.show_epoch(report)
            run.log_epoch(report)
            findings = diagnose(figures_of(params, state.reports)._replace(data=data_figures))
            display.show_findings(report.epoch, findings)
            run.log_warnings(findings)
        display.show_end(findings, run.run_id[:8])
    run.log_figures(draw_training(state.reports))
    return state
