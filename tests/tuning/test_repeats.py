"""Studies that suggest the same params again: each combination is trained once."""

import subprocess
from contextlib import nullcontext

import pytest

from lifline.errors import TrainingError
from lifline.training.report import EpochReport
from lifline.tuning import workers
from lifline.tuning.driver import _Driver
from lifline.tuning.journal import JournalStore
from lifline.tuning.repeats import is_used_up, num_combinations
from lifline.tuning.study import REPEATS, TRAINED, best_trials, next_trial, open_study
from lifline.tuning.trial import Score
from lifline.tuning.workers import TrialEvent, WorkerDiedError
from tests.conftest import HEALTHY
from tests.tuning.studies import DATA, LIFLINE, finish, runs, set_space, states, the_study

FOUR = "{network.num_steps: {low: 4, high: 5}, network.threshold: [1.0, 2.0]}"
FIRST = {"network.num_steps": 4, "network.threshold": 1.0}
OTHER = FIRST | {"network.threshold": 2.0}


class CountedTraining:
    """In place of a training: notes what it is asked for, and ends as it is told."""

    def __init__(self):
        self.asked = []
        self.outcome = lambda params: params.network.threshold / 4

    def __call__(self, params, data):
        network = params.network
        self.asked.append({"network.num_steps": network.num_steps, "network.threshold": network.threshold})
        accuracy = self.outcome(params)
        yield EpochReport(1, 1, [0.5], accuracy, 0.5, accuracy, 1000.0, 0.1, 4, [], HEALTHY)
        yield Score(accuracy, {"num_steps": params.network.num_steps}, {"firing_rate": 0.25})


@pytest.fixture
def training(ready, monkeypatch):
    counted = CountedTraining()
    monkeypatch.setattr(workers, "train_trial", counted)
    set_space(ready, FOUR)
    return counted


def suggest_again(params):
    """Let the study's next trial have these params."""
    the_study().enqueue_trial(params)


def test_each_combination_is_trained_once_and_then_the_study_ends(training, command):
    code, out, err = command("tune", "--trials", "60")
    assert (code, err) == (0, "")
    trials = the_study().trials
    repeats = [trial for trial in trials if REPEATS in trial.user_attrs]
    assert len(training.asked) == len({frozenset(asked.items()) for asked in training.asked}) == 4
    assert 4 + len(repeats) == len(trials) < 60
    *_, ended, more = out.splitlines()
    assert ended.endswith("; all 4 combinations have been tried")
    assert more.startswith(f"more in MLflow: run {the_study().study_name} of the experiment lifline-tuning; ")
    assert "; all 4 combinations have been tried" in command("studies")[1]
    assert command("tune", "--trials", "60")[0] == 0
    assert len(the_study().trials) == len(trials)


def test_a_repeat_has_the_outcome_and_the_metrics_of_the_first(training, ready, command):
    finish(1)
    suggest_again(FIRST)
    code, out, err = command("tune", "--trials", "2")
    assert (code, err) == (0, "")
    assert "trial 1 complete, as trial 0 with the same params: accuracy 25.00%" in out
    assert training.asked == [FIRST]
    first, repeat = the_study().trials
    assert repeat.user_attrs[REPEATS] == 0
    assert repeat.user_attrs[TRAINED]
    assert (repeat.values, repeat.intermediate_values) == (first.values, first.intermediate_values)
    known, run = runs(ready)[1]
    assert run.data.tags["repeats_trial"] == known.data.tags["trial"] == "0"
    assert run.info.status == "FINISHED"
    assert run.data.params == known.data.params
    assert run.data.metrics == known.data.metrics
    assert run.data.metrics["validation/firing_rate"] == 0.25


def test_a_pruned_trial_is_pruned_again_at_no_cost(training, ready, monkeypatch):
    def hopeless(driver, running, report):
        running.trial.report(report.validation_accuracy, report.epoch)
        return True

    monkeypatch.setattr(_Driver, "_is_hopeless", hopeless)
    finish(1)
    suggest_again(FIRST)
    first, repeat = finish(2)
    assert training.asked == [FIRST]
    assert states([first, repeat]) == ["PRUNED", "PRUNED"]
    assert repeat.intermediate_values == first.intermediate_values == {1: 0.25}
    run = runs(ready)[1][1]
    assert run.info.status == "KILLED"
    assert run.data.tags["failure"] == "repeats trial 0, which was pruned"


def test_a_failed_trial_is_trained_again(training):
    def fail(params):
        raise TrainingError("the loss is nan")

    succeed, training.outcome = training.outcome, fail
    assert states(finish(1)) == ["FAIL"]
    training.outcome = succeed
    suggest_again(FIRST)
    assert states(finish(2)) == ["FAIL", "COMPLETE"]
    assert training.asked == [FIRST, FIRST]


def test_a_space_is_not_used_up_by_what_failed(training, ready):
    def fail_once(params):
        if len(training.asked) == 1:
            raise TrainingError("the loss is nan")
        return 0.5

    set_space(ready, "{network.threshold: [1.0, 2.0]}")
    training.outcome = fail_once
    finish(0)
    for threshold in (2.0, 1.0):
        suggest_again({"network.threshold": threshold})
    assert states(finish(20)) == ["FAIL", "COMPLETE", "COMPLETE"]


def test_a_study_of_which_every_trial_fails_ends_at_its_number_of_trials(training, ready, command):
    def fail(params):
        raise TrainingError("the loss is nan")

    set_space(ready, "{network.threshold: [1.0]}")
    training.outcome = fail
    code, out, err = command("tune", "--trials", "2")
    assert (code, err) == (0, "")
    assert states(the_study().trials) == ["FAIL"] * 2
    assert "have been tried" not in out


def test_what_another_program_told_is_trained(training):
    finish(1)
    suggest_again(OTHER)
    told = the_study().ask(the_study().trials[0].distributions)
    the_study().tell(told.number, 0.99)
    suggest_again(OTHER)
    trials = finish(3)
    assert training.asked == [FIRST, OTHER]
    assert [trial.value for trial in trials] == [0.25, 0.99, 0.5]


def test_a_front_has_no_trial_twice(training):
    finish(1, cost="num_steps")
    suggest_again(FIRST)
    _, repeat = finish(2, cost="num_steps")
    assert repeat.values == [0.25, 4.0]
    assert [trial.number for trial in best_trials(the_study())] == [0]


def test_a_range_of_numbers_is_never_used_up(repository, tuned):
    study = open_study(JournalStore(), tuned, DATA, None, None)
    assert not is_used_up(study)
    next_trial(study, tuned, 1, "a driver")
    assert num_combinations(study) is None
    assert not is_used_up(study)


class FakeWorkers:
    """Workers that end their trials in the order in which they began them, with these outcomes."""

    def __init__(self, num_workers, outcome):
        self.num_workers = num_workers
        self.outcome = outcome
        self.begun = []
        self.begun_before_event = []
        """For each event, the trials that had been begun by then."""

    def started(self, params, data):
        return nullcontext()

    def num_free(self):
        return self.num_workers - len(self.begun) + len(self.begun_before_event)

    def begin(self, number, params):
        assert self.num_free() > 0
        self.begun.append(number)

    def next_event(self):
        number = self.begun[len(self.begun_before_event)]
        self.begun_before_event.append(self.begun.copy())
        return TrialEvent(number, self.outcome(number))


FAILURES = [TrainingError("the loss is nan"), WorkerDiedError("gone")]


@pytest.mark.parametrize("outcome", [Score(0.75, {}, {}), *FAILURES])
def test_a_repeat_of_what_is_being_trained_waits_for_its_outcome(training, outcome):
    finish(0)
    suggest_again(FIRST)
    two = FakeWorkers(2, lambda number: outcome if number == 0 else Score(0.5, {}, {}))
    trials = finish(2, workers=two)
    if isinstance(outcome, Score):
        assert two.begun == [0]
        assert [trial.value for trial in trials] == [0.75, 0.75]
        assert trials[1].user_attrs[REPEATS] == 0
    else:
        assert two.begun[:2] == [0, 1]
        assert trials[0].state.name == "FAIL"
        assert trials[1].value == 0.5


def test_beside_repeats_that_wait_other_trials_are_trained(training):
    finish(0)
    for params in (FIRST, FIRST, OTHER):
        suggest_again(params)
    four = FakeWorkers(4, lambda number: Score(0.25 * (number + 1), {}, {}))
    trials = finish(4, workers=four)
    assert four.begun_before_event[0] == [0, 3]
    assert [trial.value for trial in trials] == [0.25, 0.25, 0.25, 1.0]
    assert [trial.user_attrs.get(REPEATS) for trial in trials] == [None, 0, 0, None]


@pytest.mark.parametrize("failure", FAILURES)
def test_each_repeat_that_waits_has_a_worker_to_be_trained_by(training, failure):
    finish(0)
    for params in (FIRST, FIRST, OTHER):
        suggest_again(params)
    three = FakeWorkers(3, lambda number: failure if number == 0 else Score(0.25 * number, {}, {}))
    trials = finish(4, workers=three)
    assert three.begun_before_event == [[0], [0, 1, 3], [0, 1, 3]]
    assert [trial.value for trial in trials[:4]] == [None, 0.25, 0.25, 0.75]
    assert [trial.user_attrs.get(REPEATS) for trial in trials[:4]] == [None, None, 1, None]


@pytest.mark.slow
def test_two_processes_share_what_they_know(ready):
    set_space(ready, FOUR)
    processes = [
        subprocess.Popen([*LIFLINE, "tune", "--trials", "60"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    trials = the_study().trials
    trained = [trial for trial in trials if REPEATS not in trial.user_attrs]
    assert len(trained) == len({frozenset(trial.params.items()) for trial in trained}) == 4
    assert set(states(trials)) <= {"COMPLETE", "PRUNED"}
