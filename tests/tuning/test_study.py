"""A study's life, without training."""

import optuna
import pytest

from lifline.errors import ParamsError, TuningError
from lifline.tuning.journal import JournalStore
from lifline.tuning.study import (
    FORMER_RETRY_OF,
    MAX_DEATHS,
    TRAINED,
    best_trials,
    counted,
    fail_dead_trials,
    is_retried,
    next_trial,
    open_study,
    retry,
)
from lifline.tuning.winner import all_studies, find_study
from tests.conftest import changed
from tests.tuning.studies import DATA, states

BASE = {"network.beta": 0.9, "train.learning_rate": 0.01}


@pytest.fixture
def store(repository):
    return JournalStore()


@pytest.fixture
def study(store, tuned):
    return open_study(store, tuned, DATA, None, None)


@pytest.fixture
def ask(study, tuned):
    """Ask the study for a trial, by default for a process that is gone."""
    return lambda num_trials=1, driver="gone": next_trial(study, tuned, num_trials, driver)


def test_a_trial_that_dies_with_each_process_is_given_up(store, study, ask):
    for _ in range(MAX_DEATHS):
        trial = ask()
        assert fail_dead_trials(store, study) == [trial.number]
    assert ask() is None
    assert states(study.trials) == ["FAIL"] * MAX_DEATHS
    assert trial.params == BASE


def test_a_trial_that_is_stopped_often_is_still_tried_again(store, study, ask):
    with store.driving() as driver:
        for _ in range(MAX_DEATHS + 1):
            retry(study, ask(driver=driver).number, is_stopped=True)
            assert fail_dead_trials(store, study) == []
        assert ask(driver=driver).params == BASE


def test_a_trial_killed_while_it_is_asked_for_keeps_its_params(store, study, ask):
    study.ask()  # without the space: none of its params is set
    fail_dead_trials(store, study)
    assert ask().params == BASE


def test_retries_of_studies_that_are_older_than_their_name_count(study, ask):
    died = ask()
    study.enqueue_trial(BASE, user_attrs={FORMER_RETRY_OF: died.number})
    study.tell(died.number, state=optuna.trial.TrialState.FAIL)
    assert is_retried(study, died.number)
    again = ask()
    assert counted(study.trials) == [study.trials[again.number]]


def test_a_retry_of_what_is_no_earlier_trial_is_none(study, ask):
    study.enqueue_trial(BASE, user_attrs={"retry_of": 5})
    study.enqueue_trial(BASE, user_attrs={"retry_of": "0"})
    while ask(num_trials=3):
        pass
    assert len(counted(study.trials)) == 3


def told(study, values, trained):
    trial = study.ask()
    if trained:
        trial.set_user_attr(TRAINED, True)
    study.tell(trial, values)


def test_the_best_are_of_those_that_lifline_trained(store, study, tuned):
    for accuracy, trained in ((0.5, True), (0.7, True), (0.7, True), (0.999, False)):
        told(study, accuracy, trained)
    assert [trial.number for trial in best_trials(study)] == [1]
    study = open_study(store, tuned, DATA, "synaptic_operations", None)
    trained = [(0.5, 10.0), (0.5, 10.0), (0.4, 10.0), (0.7, 30.0), (0.7, 31.0)]
    for values in trained:
        told(study, values, trained=True)
    assert [trial.number for trial in best_trials(study)] == [trial.number for trial in study.best_trials] == [0, 1, 3]
    told(study, (0.999, 1.0), trained=False)
    assert [trial.number for trial in best_trials(study)] == [0, 1, 3]


def test_a_study_that_is_not_liflines_is_left_alone(ready, command):
    theirs = optuna.create_study(storage=JournalStore().optuna, study_name="theirs")
    theirs.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    code, _, err = command("tune", "--study", "theirs")
    assert (code, err) == (2, "error: study theirs is not lifline's; give another --study\n")
    assert command("promote")[2] == "error: there is no study; `lifline tune` makes one\n"


def test_a_cost_that_no_param_changes_is_refused(store, tuned):
    with pytest.raises(ParamsError, match=r"tune\.space has no network\.num_steps"):
        open_study(store, tuned, DATA, "num_steps", None)


def test_a_name_belongs_to_one_space(store, tuned):
    open_study(store, tuned, DATA, None, "mine")
    other = changed(tuned, network={"threshold": 2.0})
    with pytest.raises(TuningError, match="study mine has another space, objective, data or other base params; give"):
        open_study(store, other, DATA, None, "mine")
    with pytest.raises(TuningError, match="study mine has another space"):
        open_study(store, tuned, "db" * 32, None, "mine")
    with pytest.raises(TuningError) as raised:
        open_study(store, tuned, DATA, None, "it's/mine")
    assert str(raised.value) == """study is "it's/mine"; allowed are letters, digits, and the signs _ . -"""
    unnamed = open_study(store, other, DATA, None, None)
    next_trial(unnamed, other, 1, "a driver")
    assert open_study(store, other, DATA, None, None).study_name == unnamed.study_name
    assert len(all_studies(store)) == 2
    assert find_study(store, "mine").study_name == "mine"
    assert find_study(store, None).study_name == unnamed.study_name
