"""Figures are looked at by people; here, that they are drawn at all, whatever a network does."""

from io import BytesIO

import matplotlib as mpl
import matplotlib.style
import numpy as np
import pytest
import torch
from PIL import Image

from lifline.evaluation.evaluate import evaluate_by_num_steps, mistakes
from lifline.figures.evaluation import draw_evaluation, evaluation_figures
from lifline.figures.training import draw_training
from lifline.models.model import run_over
from tests.conftest import changed, first, untrained
from tests.tracking.test_tracking import epoch_report

NAMES = {"confusion", "mistakes", "firing_rates", "by_num_steps", "raster", "weights"}


def pixels(png):
    with Image.open(BytesIO(png), formats=["PNG"]) as picture:
        return np.asarray(picture.convert("L"))


def figures_of(params, data, silent=False, **values):
    wanted = {"layers": "40", "num_steps": 6, "threshold": 0.3} | values
    model = untrained(changed(params, network=wanted).network, seed=2)
    if silent:
        for layer in model.network.layers:
            torch.nn.init.zeros_(layer.projection.weight), torch.nn.init.zeros_(layer.projection.bias)
    return evaluation_figures(model, data, evaluate_by_num_steps(model, data))


@pytest.mark.parametrize(
    "values",
    [
        {},
        *(
            pytest.param(values, marks=pytest.mark.slow)
            for values in (
                {"layers": "3"},
                {"layers": "40-30-20"},
                {"layers": "5C5-MP2-30"},
                {"num_steps": 1},
                {"num_steps": 60},
                {"silent": True},
            )
        ),
    ],
)
def test_every_figure_shows_something_light_to_look_at(params, test_images, values):
    figures = figures_of(params, first(test_images, 300), **values)
    assert set(figures) == {f"{name}.png" for name in NAMES}
    for name, png in figures.items():
        shown = pixels(png)
        assert shown.shape[0] > 300, name
        assert shown.shape[1] > 600, name
        assert (shown > 240).mean() > 0.4, name
        assert shown.std() > 5, name


def test_axes_are_labelled_and_ticked(params, test_images, monkeypatch):
    drawn = {}

    def keep(figure):
        figure.draw_without_rendering()
        drawn[len(drawn)] = figure
        return b""

    monkeypatch.setattr("lifline.figures.style.as_png", keep)
    data = first(test_images, 300)
    figures_of(params, data)
    figures_of(params, data, silent=True)  # at every step the same accuracy
    draw_training([epoch_report()])
    draw_training([epoch_report(losses=[300.0, 0.2, 0.001], betas=[0.5, 0.9])])
    axes = [axis for figure in drawn.values() for axis in figure.axes if axis.axison]
    assert len(axes) > 20
    for axis in axes:
        shown = axis.get_title() or axis.get_ylabel()
        assert axis.get_xlabel() or axis.get_label() == "<colorbar>", shown
        assert axis.get_ylabel() or len(axis.get_yticklabels()) == 10 or "mean" in shown, shown
        low, high = sorted(axis.get_ylim())
        labels = [label for label in axis.yaxis.get_ticklabels(which="both") if label.get_text()]
        assert sum(low <= label.get_position()[1] <= high for label in labels) >= 2, shown
        assert not any("$" in label.get_text() for label in labels), shown


def test_of_one_epoch_there_are_dots_where_lines_have_no_length(monkeypatch):
    drawn = []
    monkeypatch.setattr("lifline.figures.style.as_png", lambda figure: drawn.append(figure) or b"")
    for epochs in (1, 2):
        draw_training([epoch_report(epoch=epoch, betas=[0.5, 0.9]) for epoch in range(1, epochs + 1)])
    for figure, marker in zip(drawn, ("o", "None"), strict=True):
        of_epochs = [line for axis in figure.axes for line in axis.lines if not line.get_label().startswith("_")]
        assert [line.get_marker() for line in of_epochs] == [marker] * 6


@pytest.mark.slow
def test_the_same_evaluation_gives_the_same_bytes_and_another_gives_others(params, test_images):
    data = first(test_images, 300)
    one = figures_of(params, data)
    with mpl.style.context("ggplot"):  # Optuna's pictures set it, for good
        same = figures_of(params, data)
    other = figures_of(params, data, beta=0.5)
    assert one == same
    assert {name for name in one if one[name] != other[name]} == set(one) - {"weights.png"}


@pytest.mark.parametrize("epochs", [1, 30])
def test_a_training_is_drawn(epochs):
    reports = [
        epoch_report(epoch=i, iteration=3 * i, validation_accuracy=1 - 1 / (i + 1)) for i in range(1, epochs + 1)
    ]
    figures = draw_training(reports)
    assert list(figures) == ["training.png"]
    assert pixels(figures["training.png"]).std() > 5
    assert figures != draw_training([report._replace(train_accuracy=0.1) for report in reports])
    assert figures != draw_training([report._replace(betas=[0.5, 0.9]) for report in reports])


@pytest.mark.parametrize("coding", ["constant", pytest.param("latency", marks=pytest.mark.slow), "rate"])
def test_the_spikes_that_are_drawn_are_those_that_were_evaluated(params, test_images, monkeypatch, coding):
    drawn = []
    monkeypatch.setattr("lifline.figures.evaluation.draw_trace", lambda *given: drawn.append(given) or {})
    values = {"layers": "20", "num_steps": 6, "threshold": 0.3, "coding": coding}
    model, data = untrained(changed(params, network=values).network, seed=1), first(test_images, 600)
    evaluations = evaluate_by_num_steps(model, data)
    evaluation_figures(model, data, evaluations)
    _, _, decided, layers, *_ = drawn[0]
    assert layers[-1].spikes[:, 0].sum(0).argmax() == decided == evaluations[-1].decided[0]
    look = next(run_over(model.network, data))
    assert torch.equal(layers[-1].spikes[:, 0], look.record.spikes[:, 0])


def test_names_of_classes_are_no_mathematics(params, test_images):
    model = untrained(changed(params, network={"layers": "10", "num_steps": 2}).network)
    names = ("$^$", "$a and $b", r"$\foo$", "_", "^", "a" * 100, "{", "%", "日", "é")
    model = model._replace(dataset=model.dataset.model_copy(update={"class_names": names}))
    data = first(test_images, 40)
    assert len(evaluation_figures(model, data, evaluate_by_num_steps(model, data))) == 6


@pytest.mark.parametrize("name", ["7", "Stern ähnlich", "M" * 13, "a name that is cut " * 9])
def test_titles_of_mistakes_keep_apart(params, test_images, monkeypatch, name):
    drawn = []
    monkeypatch.setattr("lifline.figures.style.as_png", lambda figure: drawn.append(figure) or b"")
    model = untrained(changed(params, network={"layers": "10", "num_steps": 2}).network)
    model = model._replace(dataset=model.dataset.model_copy(update={"class_names": (name,) * 10}))
    data = first(test_images, 40)
    evaluations = evaluate_by_num_steps(model, data)
    draw_evaluation(evaluations, [mistake._replace(confidence=1) for mistake in mistakes(data, evaluations[-1])])
    figure = next(figure for figure in drawn if "mistakes" in figure.axes[0].get_title())
    figure.draw_without_rendering()
    titles = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(titles) == 24
    assert not any(one.overlaps(other) for i, one in enumerate(titles) for other in titles[:i])


def test_where_all_is_right_nothing_less_is_shown(params, test_images, monkeypatch):
    drawn = []
    monkeypatch.setattr("lifline.figures.style.as_png", lambda figure: drawn.append(figure) or b"")
    model, data = untrained(changed(params, network={"layers": "10", "num_steps": 2}).network), first(test_images, 40)
    decided = evaluate_by_num_steps(model, data)[-1].decided
    right = data._replace(labels=decided)
    draw_evaluation(evaluations := evaluate_by_num_steps(model, right), mistakes(right, evaluations[-1]))
    assert any(figure.axes[0].get_title() == "No test image is mistaken" for figure in drawn)
    (accuracy,) = (figure.axes[0] for figure in drawn if figure.axes[0].get_title().startswith("Test accuracy"))
    accuracy.figure.draw_without_rendering()
    ticks = dict(zip(accuracy.get_yticks(), accuracy.get_yticklabels(), strict=True))
    assert ticks[accuracy.lines[0].get_ydata()[-1]].get_text() == "≥ 99.99%"
