"""The pictures of a study."""

import json

import optuna
import pytest
from optuna.trial import create_trial

from lifline.tuning import figures
from lifline.tuning.study import DEFINITION


@pytest.fixture
def front():
    study = optuna.create_study(directions=["maximize", "minimize"])
    study.set_user_attr(DEFINITION, json.dumps({"cost": "energy"}))
    for values in [(0.99, 700), (0.98, 300), (0.97, 350), (0.1, 250), (0.976, 299), (0.1, 900)]:
        study.add_trial(create_trial(values=list(values)))
    return study


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
