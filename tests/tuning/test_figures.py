"""The pictures of a study."""

import json
import re

import numpy as np
import optuna
import pytest
from matplotlib import pyplot
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from lifline.tuning import figures
from lifline.tuning.study import DEFINITION, retry


@pytest.fixture
def front():
    study = optuna.create_study(directions=["maximize", "minimize"])
    study.set_user_attr(DEFINITION, json.dumps({"cost": "energy"}))
    for values in [(0.99, 700), (0.98, 300), (0.97, 350), (0.1, 250), (0.976, 299), (0.1, 900)]:
        study.add_trial(create_trial(values=list(values)))
    return study


@pytest.fixture
def accuracies():
    """Three trials that are complete, and two that were pruned."""
    rate = {"train.learning_rate": FloatDistribution(0.0001, 1, log=True), "network.beta": FloatDistribution(0, 1)}
    study = optuna.create_study(direction="maximize")
    for i, accuracy in enumerate([0.97, 0.98, 0.975, None, None]):
        params = {"train.learning_rate": 0.0005 * 4**i, "network.beta": i / 5}
        state = TrialState.PRUNED if accuracy is None else TrialState.COMPLETE
        study.add_trial(create_trial(state=state, value=accuracy, params=params, distributions=rate))
    yield study
    pyplot.close("all")


def drawn(study, name):
    """The figure's axes, as they are drawn."""
    axes = np.ravel(figures.PLOTS[name](study, target_name="validation accuracy"))[0]
    figures._tidy(axes.figure)
    axes.figure.canvas.draw()
    return axes.figure.axes


def labels(axis):
    low, high = sorted(axis.get_view_interval())
    return [tick.label1.get_text() for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]


def test_a_history_says_what_was_pruned_and_counts_trials_in_whole_numbers(accuracies):
    axes, *_ = drawn(accuracies, "history.png")
    assert axes.get_title() == "5 trials; 2 pruned not shown"
    assert set() < set(labels(axes.xaxis)) <= set("01234")


def test_a_history_says_what_failed_and_what_was_tried_again(accuracies):
    accuracies.add_trial(create_trial(state=TrialState.FAIL))
    retry(accuracies, accuracies.ask().number, is_stopped=True)
    accuracies.ask()  # that one, again: it is running, and may be shown yet
    axes, *_ = drawn(accuracies, "history.png")
    assert axes.get_title() == "6 trials; 2 pruned, 1 failed, 1 tried again not shown"


def test_the_worst_trial_is_no_white_line_on_white(accuracies):
    axes, *_ = drawn(accuracies, "parallel_coordinates.png")
    [lines] = axes.collections
    assert lines.get_colors()[:, 0].max() < 0.8  # of red, green and blue


def test_a_logarithmic_axis_has_several_labels(accuracies):
    rate = next(axes for axes in drawn(accuracies, "parallel_coordinates.png") if axes.get_yscale() == "log")
    assert {"0.001", "0.003"} <= {tick.label2.get_text() for tick in rate.yaxis.get_major_ticks()}


LAYERS = ["16C3p1-AP2-32C3p1-AP2-64", "12C5-MP2-64C5-MP2", "1000"]
NUMBERED = f"(1)  {LAYERS[1]}\n(2)  {LAYERS[0]}"


@pytest.fixture
def networks():
    """Trials whose choices are long names, short ones, truths and numbers."""
    kinds = {
        "network.layers": CategoricalDistribution(LAYERS),
        "network.learn_beta": CategoricalDistribution([False, True]),
        "network.num_steps": CategoricalDistribution([5, 10]),
    }
    study = optuna.create_study(direction="maximize")
    for i, layers in enumerate(LAYERS):
        params = {"network.layers": layers, "network.learn_beta": i > 1, "network.num_steps": 10 if i else 5}
        study.add_trial(create_trial(value=0.9 + i / 100, params=params, distributions=kinds))
    yield study
    pyplot.close("all")


def test_a_long_choice_is_a_number_at_its_axis_and_written_below(networks, monkeypatch):
    made = []
    monkeypatch.setattr(figures, "as_png", lambda figure: made.append(figure) or b"")
    for name, figure in zip(figures.draw_study(networks), made, strict=True):
        axes = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
        told = {label.get_text() for axis in axes for label in axis.get_ticklabels()}
        assert told.isdisjoint(LAYERS[:2])
        assert any(re.fullmatch(r"0\.\d+", each) for each in told)  # accuracies keep their labels
        below = [text.get_text() for text in figure.texts if text.get_text().startswith("(")]
        if name in {"slice.png", "parallel_coordinates.png"}:
            assert {"(1)", "(2)", "1000", "False", "True"} <= told
            assert below == [NUMBERED]
        else:
            assert below == []


def test_of_numbers_alone_every_axis_keeps_its_labels(accuracies, monkeypatch):
    made = []
    monkeypatch.setattr(figures, "as_png", lambda figure: made.append(figure) or b"")
    made = dict(zip(figures.draw_study(accuracies), made, strict=True))
    for name in ("history.png", "parallel_coordinates.png", "slice.png"):
        assert len({label.get_text() for label in made[name].axes[0].yaxis.get_ticklabels()} - {""}) > 1


def test_the_colours_of_trials_are_told_in_whole_numbers(accuracies):
    *_, bar = drawn(accuracies, "slice.png")
    assert set() < {tick.label2.get_text() for tick in bar.yaxis.get_major_ticks()} <= {"0", "1", "2"}


def test_all_pictures_of_a_study_are_drawn(accuracies):
    pictures = figures.draw_study(accuracies)
    assert sorted(pictures) == ["history.png", "importances.png", "parallel_coordinates.png", "slice.png"]
    assert all(picture.startswith(b"\x89PNG") for picture in pictures.values())


def test_a_front_is_drawn_where_it_is_and_says_what_it_leaves_out(front):
    study = optuna.create_study(directions=front.directions)
    study.add_trials([trial for trial in front.trials if trial.values != [0.1, 250]])
    axes = figures._front(study, ["validation accuracy", "energy"])
    assert axes.get_xlim() == pytest.approx((0.9725, 0.9935))
    assert axes.get_ylim() == pytest.approx((278.95, 720.05))
    assert axes.get_title() == "5 trials; 2 below 97.2% not shown"
    assert axes.xaxis.get_major_formatter()(0.98) == "98.0%"


def test_where_all_are_near_nothing_is_left_out(front):
    study = optuna.create_study(directions=front.directions)
    study.add_trials(front.trials[:2])
    assert figures._front(study, ["validation accuracy", "energy"]).get_title() == "2 trials"


def test_a_front_is_a_picture(front):
    assert figures.draw_study(front)["pareto_front.png"].startswith(b"\x89PNG")
