"""A look at why a network does not learn: at a recipe, by training it a little, or at a run that MLflow keeps."""

import math
from typing import NamedTuple

import torch

from lifline.data.datasets import Dataset, load_dataset
from lifline.data.images import LabelledImages, split_training_images
from lifline.data.inspection import inspect_dataset
from lifline.errors import DataError, TrainingError
from lifline.experiments.display import training_display
from lifline.params import Params
from lifline.paths import DATA
from lifline.tracking.health import figures_of_run
from lifline.training.diagnosis import MIN_PLANNED, Figures, Finding, diagnose, figures_of
from lifline.training.fit import fit, iterations_per_epoch, new_training

STEPS = MIN_PLANNED
"""Optimizer steps that a recipe is trained for, in epochs of a few of them; one that has no more is trained whole."""

STEPS_PER_EPOCH = 50
MAX_VALIDATED = 1_000
"""Validation images that are looked at after each, where the recipe is not trained whole."""


class Examination(NamedTuple):
    """What was found, and by how much of a training."""

    findings: list[Finding]
    iterations: int
    """Optimizer steps that were looked at."""

    planned: int
    """Optimizer steps of the whole training."""

    saw_data: bool


def examine_recipe(params: Params, dataset: Dataset, device: torch.device) -> Examination:
    """Train a recipe for a few steps, at its highest learning rate, and judge that and its data; nothing is kept.

    A recipe of few steps is trained as the pipeline does, so that both find the same.

    Raises:
        ParamsError, DataError: as a training.
    """
    training, _gate, validation = split_training_images(dataset.train, params.data)
    planned, short = params.train.epochs * iterations_per_epoch(training, params.train), params
    if planned > STEPS:
        training = _first(training, STEPS_PER_EPOCH * params.train.batch_size)
        validation = _first(validation, MAX_VALIDATED)
        short = _shortened(params, iterations_per_epoch(training, params.train))
    training, validation = training.to(device), validation.to(device)
    state, failure = new_training(short, dataset.info, device), ""
    with training_display(short.train.epochs, iterations_per_epoch(training, short.train)) as display:
        try:
            for _ in fit(state, training, validation, short, display.show_step):
                pass
        except TrainingError as error:
            failure = str(error)
    figures = figures_of(params, state.reports, failure)._replace(planned=planned, data=inspect_dataset(dataset))
    return _examined(figures)


def examine_run(name: str, params: Params) -> Examination:
    """Judge a training by what its run of MLflow has, and the data where it is the one that is here.

    Args:
        name: an id, its beginning, or a name, as for `lifline compare`.
        params: those that the run does not have are taken from here.

    Raises:
        TrackingError: there is no such run, it is of no training, or MLflow cannot be reached.
    """
    figures, data_sha256 = figures_of_run(name, params)
    try:
        dataset = load_dataset(DATA)
    except DataError:
        return _examined(figures)
    if dataset.sha256 == data_sha256:
        figures = figures._replace(data=inspect_dataset(dataset))
    return _examined(figures)


def _examined(figures: Figures) -> Examination:
    return Examination(diagnose(figures), figures.iterations, figures.planned, figures.data is not None)


def _shortened(params: Params, steps_per_epoch: int) -> Params:
    """The recipe in fewer and shorter epochs; the learning rate rises in the first, if so, and stays."""
    epochs = math.ceil(STEPS / steps_per_epoch)
    return params.with_values(
        {
            "train.epochs": epochs,
            "train.warmup_epochs": min(params.train.warmup_epochs, epochs / 4),
            "train.schedule": "constant",
        }
    )


def _first(data: LabelledImages, count: int) -> LabelledImages:
    return LabelledImages(data.images[:count], data.labels[:count])
