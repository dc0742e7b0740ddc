"""`lifline tune` on MLflow and Optuna's journal: what a study tells both, and what is left where it is stopped."""

import itertools
import os
import signal
import subprocess
import time
import weakref
from contextlib import contextmanager

import mlflow
import optuna
import pytest
import sqlalchemy

from lifline.errors import TrackingError, TrainingError, TuningError
from lifline.presets import change_params
from lifline.training.report import EpochReport
from lifline.tuning import driver, figures, journal, workers
from lifline.tuning import trial as training_of_trials
from lifline.tuning.study import DRIVER, TRAINED, counted, is_retried, retry_of
from lifline.tuning.trial import Score
from tests.conftest import HEALTHY
from tests.tuning.studies import (
    LIFLINE,
    Silent,
    finish,
    forget,
    longer_trials,
    outcome,
    runs,
    states,
    the_study,
)


class FakeTraining:
    """In place of a training: two epochs and a score, at once."""

    def __init__(self, during=lambda: None):
        self.during = during

    def __call__(self, params, data):
        accuracy = 1 - abs(params.network.beta - 0.8)
        for epoch in (1, 2):
            self.during()
            yield EpochReport(epoch, epoch, [0.5], accuracy, 0.5, accuracy, 1000.0, 0.1, 4, [], HEALTHY)
        yield Score(accuracy, {}, {"synaptic_operations_per_image": 1.0})


@pytest.fixture
def quick(ready, monkeypatch):
    """Studies whose trials cost nothing."""
    monkeypatch.setattr(workers, "train_trial", FakeTraining())
    return ready


def test_the_first_trial_is_the_params_as_they_are(ready):
    base, other = finish(num_trials=2)
    assert base.params == {"network.beta": 0.9, "train.learning_rate": 0.01}
    assert other.params != base.params
    assert all(trial.user_attrs[TRAINED] for trial in (base, other))


def test_trials_see_nothing_that_is_held_out_for_the_champion(ready, monkeypatch):
    def train(params, data):
        seen.append((len(data.training.labels), len(data.validation.labels)))
        return FakeTraining()(params, data)

    seen = []
    monkeypatch.setattr(workers, "train_trial", train)
    change_params({"data.gate_size": 50})
    finish(num_trials=1)
    assert seen == [(250, 100)]


def test_the_same_seed_gives_the_same_trials_stopped_in_between_or_not(quick):
    whole = outcome(finish(num_trials=4))
    forget(quick)
    for num_trials in (2, 4, 4):
        trials = finish(num_trials=num_trials)
    assert outcome(trials) == whole
    forget(quick)
    change_params({"train.seed": 1})
    assert outcome(finish(num_trials=2))[1] != whole[1]


def test_a_trial_trains_as_the_pipeline_does(ready, stage):
    (trial,) = finish(num_trials=1)
    change_params({"train.epochs": 2})
    assert stage("train")[0] == 0
    client = mlflow.MlflowClient(f"sqlite:///{ready / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("lifline").experiment_id])
    assert run.data.metrics["validation/accuracy"] == trial.value


def test_mlflow_has_a_parent_with_a_child_for_each_trial(ready, monkeypatch):
    monkeypatch.setattr(driver, "draw_study", figures.draw_study)
    trials = finish(num_trials=3)
    parent, children = runs(ready)
    study = the_study()
    assert parent.info.run_name == parent.data.tags["study"] == study.study_name
    assert [run.info.run_name for run in children] == ["trial 0", "trial 1", "trial 2"]
    for run, trial in zip(children, trials, strict=True):
        assert run.data.params["network.beta"] == str(trial.params["network.beta"])
        assert run.data.params["train.epochs"] == "2"
        assert run.data.metrics["validation/accuracy"] == trial.value
        assert next(iter(run.data.metrics)) == "validation/accuracy"  # the objective, which MLflow draws first
        assert run.data.metrics["validation/synaptic_operations_per_image"] > 0
        assert f"Part of [{study.study_name}](" in run.data.tags["mlflow.note.content"]
        assert run.info.status == parent.info.status == "FINISHED"
    client = mlflow.MlflowClient(f"sqlite:///{ready / 'mlflow.db'}")
    assert len(client.get_metric_history(children[0].info.run_id, "validation/accuracy")) == 2
    best = max(children, key=lambda run: run.data.metrics["validation/accuracy"])
    assert parent.data.metrics["validation/accuracy"] == study.best_value
    description = parent.data.tags["mlflow.note.content"]
    assert all(f"[{run.info.run_name}](" in description for run in children)
    assert description.index(best.info.run_id) == min(description.index(run.info.run_id) for run in children)
    files = {file.path for file in client.list_artifacts(parent.info.run_id)}
    names = ("history", "importances", "parallel_coordinates", "slice")
    assert files == {"params.yaml", *(f"{name}.png" for name in names)}


def test_a_hopeless_trial_is_pruned_and_its_run_killed(ready, monkeypatch):
    def hopeless(state, training, validation, params):
        for report in real_fit(state, training, validation, params):
            yield report if params.network.beta == 0.9 else report._replace(validation_accuracy=0.01)

    real_fit = training_of_trials.fit
    monkeypatch.setattr(training_of_trials, "fit", hopeless)
    monkeypatch.setattr("lifline.tuning.study.STARTUP_TRIALS", 1)
    longer_trials(ready, epochs=4)
    trials = finish(num_trials=2)
    assert states(trials) == ["COMPLETE", "PRUNED"]
    assert list(trials[1].intermediate_values) == [1]
    _, children = runs(ready)
    assert [run.info.status for run in children] == ["FINISHED", "KILLED"]
    assert children[1].data.tags["failure"] == "pruned after epoch 1"


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory"), TrainingError("the loss is nan")])
def test_a_trial_that_is_to_blame_counts_and_the_study_goes_on(ready, monkeypatch, error):
    def failing(state, training, validation, params):
        if params.network.beta != 0.9:
            raise error
        return real_fit(state, training, validation, params)

    real_fit = training_of_trials.fit
    monkeypatch.setattr(training_of_trials, "fit", failing)
    trials = finish(num_trials=3)
    assert states(trials) == ["COMPLETE", "FAIL", "FAIL"]
    assert runs(ready)[1][1].data.tags["failure"] == f"{type(error).__name__}: {error}"


def test_a_bug_ends_the_study_but_does_not_come_back(ready, monkeypatch):
    def broken(state, training, validation, params):
        if params.network.beta != 0.9:
            raise AssertionError("a bug")
        return real_fit(state, training, validation, params)

    real_fit = training_of_trials.fit
    monkeypatch.setattr(training_of_trials, "fit", broken)
    with pytest.raises(AssertionError):
        finish(num_trials=2)
    study = the_study()
    assert states(study.trials) == ["COMPLETE", "FAIL"]


def test_interrupted_it_leaves_nothing_running_and_tries_again(ready, command, monkeypatch):
    def interrupt(self, study, number, report):
        if number == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lifline.tuning.display.StudyDisplay.show_epoch", interrupt)
        code, _, err = command("tune", "--trials", "3")
    assert (code, err) == (130, "error: interrupted; the same command goes on\n")
    study = the_study()
    assert states(study.trials) == ["COMPLETE", "FAIL", "WAITING"]
    assert study.trials[2].system_attrs["fixed_params"] == study.trials[1].params
    parent, children = runs(ready)
    assert [run.info.status for run in children] == ["FINISHED", "FAILED"]
    assert parent.info.status == "KILLED"
    trials = finish(num_trials=3)
    assert len(counted(trials)) == 3
    assert trials[2].params == trials[1].params
    forget(ready)
    assert outcome(finish(num_trials=3)) == outcome(counted(trials))


@pytest.mark.slow
def test_after_a_sigkill_no_trial_is_lost_and_none_counted_twice(ready):
    whole = outcome(finish(num_trials=4))
    forget(ready)
    done = subprocess.run(
        [*LIFLINE, "tune", "--trials", "4"], env=os.environ | {"KILLED_IN_TRIAL": "2"}, capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert "RUNNING" in {trial.state.name for trial in the_study().trials}
    trials = finish(num_trials=4)
    retried = [number for trial in trials if (number := retry_of(trial)) is not None]
    assert {trials[number].state.name for number in retried} == {"FAIL"}
    assert len(counted(trials)) == 4
    assert outcome(counted(trials)) == whole
    parent, children = runs(ready)
    assert parent.info.status == "FINISHED"
    assert "RUNNING" not in {run.info.status for run in children}


@pytest.mark.slow
def test_two_at_once_share_the_budget(ready):
    processes = [
        subprocess.Popen([*LIFLINE, "tune", "--trials", "6"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    study = the_study()
    assert len(study.trials) == 6
    assert len({trial.user_attrs[DRIVER] for trial in study.trials}) == 2
    assert {trial.state.name for trial in study.trials} <= {"COMPLETE", "PRUNED"}
    assert len(runs(ready)[1]) == 6


def test_a_run_whose_end_was_not_told_gets_its_trials_status(ready, monkeypatch):
    def lost(run_id, status, reason=""):
        raise TrackingError("MLflow is gone")

    with monkeypatch.context() as patch:
        patch.setattr("lifline.tracking.runs.end_trial_run", lost)
        with pytest.raises(TrackingError):
            finish(num_trials=1)
    assert [run.info.status for run in runs(ready)[1]] == ["RUNNING"]
    finish(num_trials=2)
    parent, children = runs(ready)
    assert {run.info.status for run in [parent, *children]} == {"FINISHED"}


def test_a_storage_that_goes_away_as_an_end_is_told_leaves_no_run_running(quick, monkeypatch):
    def gone(*_):
        raise TuningError("studies do not work")

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "tell", gone)
        with pytest.raises(TuningError):
            finish(num_trials=1)
    parent, children = runs(quick)
    assert [run.info.status for run in [parent, *children]] == ["FAILED"] * 2
    assert len(counted(finish(num_trials=1))) == 1


def test_a_run_that_another_driver_is_just_ending_is_left_to_it(quick, monkeypatch):
    def end_while_another_starts(*arguments):
        monkeypatch.setattr("lifline.tracking.runs.end_trial_run", end)
        assert len(finish(num_trials=1)) == 1
        statuses.extend(run.info.status for run in runs(quick)[1])
        end(*arguments)

    statuses, end = [], driver.tracking.end_trial_run
    monkeypatch.setattr("lifline.tracking.runs.end_trial_run", end_while_another_starts)
    finish(num_trials=1)
    assert statuses == ["RUNNING"]
    (child,) = runs(quick)[1]
    assert child.info.status == "FINISHED"
    assert "failure" not in child.data.tags


def test_long_epochs_are_no_wait_for_a_worker(quick, monkeypatch):
    class Impatient(Silent):
        def show_waiting(self):
            raise AssertionError

    monkeypatch.setattr(driver, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(workers, "train_trial", FakeTraining(lambda: time.sleep(0.1)))
    finish(1, Impatient())


def test_a_timeout_begins_no_trial_when_it_is_over(quick):
    assert len(finish(num_trials=50, timeout=0)) == 1
    assert states(the_study().trials) == ["WAITING"]


@contextmanager
def at_write(number, action):
    """Do something at the n-th statement of MLflow's store or record of the journal, counted from a study's start."""
    writes = itertools.count()

    def write(*_):
        if next(writes) == number:
            action()

    def append(self, logs):
        write()
        append_logs(self, logs)

    class Started(Silent):
        def show_start(self, study):
            sqlalchemy.event.listen(sqlalchemy.Engine, "after_cursor_execute", write)
            patch.setattr(journal._Journal, "append_logs", append)

    append_logs = journal._Journal.append_logs
    with pytest.MonkeyPatch.context() as patch:
        try:
            yield Started()
        finally:
            if sqlalchemy.event.contains(sqlalchemy.Engine, "after_cursor_execute", write):
                sqlalchemy.event.remove(sqlalchemy.Engine, "after_cursor_execute", write)


def interrupt():
    signal.raise_signal(signal.SIGINT)


def interrupt_at(number):
    """Interrupt a study of two trials at its n-th write; whether there was one."""
    with at_write(number, interrupt) as watcher:
        try:
            finish(2, watcher)
        except KeyboardInterrupt:
            return True
    return False


def assert_nothing_is_half_done(folder, earlier_runs):
    study = the_study()
    assert "RUNNING" not in states(study.trials)
    assert all(is_retried(study, trial.number) for trial in study.trials if trial.state.name == "FAIL")
    parent, children = runs(folder)
    is_complete = len([trial for trial in study.trials if trial.state.name == "COMPLETE"]) == 2
    assert parent.info.status in ({"KILLED", "FINISHED"} if is_complete else {"KILLED"})
    statuses = {run.data.tags["trial"]: run.info.status for run in children if run.info.run_id not in earlier_runs}
    ended = {"COMPLETE": "FINISHED", "FAIL": "FAILED"}
    begun = [trial for trial in study.trials if trial.state.name != "WAITING"]
    assert statuses == {str(trial.number): ended[trial.state.name] for trial in begun}
    assert list((folder / ".tuning/drivers").iterdir()) == []


@pytest.mark.parametrize("number", [0, *(pytest.param(number, marks=pytest.mark.slow) for number in (20, 40, 60))])
def test_interrupted_at_a_write_it_leaves_nothing_half_done(quick, number):
    assert interrupt_at(number)
    assert_nothing_is_half_done(quick, earlier_runs=set())
    trials = counted(finish(2))
    forget(quick)
    assert outcome(trials) == outcome(finish(2))


@pytest.mark.slow
def test_interrupted_at_many_writes_it_leaves_nothing_half_done(quick):
    whole = outcome(finish(2))
    for number in itertools.count(start=1, step=13):
        forget(quick)
        earlier_runs = {run.info.run_id for run in runs(quick)[1]}
        if not interrupt_at(number):
            break
        assert_nothing_is_half_done(quick, earlier_runs)
        assert outcome(counted(finish(2))) == whole
    assert number > 60


@pytest.mark.parametrize("number", [0, 2])
def test_an_exception_in_a_statement_ends_the_trial_and_its_run(quick, monkeypatch, number):
    def fail():
        raise KeyboardInterrupt

    def during():
        nonlocal is_first
        if is_first:
            is_first = False
            watcher.show_start(None)

    is_first = True
    monkeypatch.setattr(workers, "train_trial", FakeTraining(during))
    with at_write(number, fail) as watcher, pytest.raises(KeyboardInterrupt):
        finish(2)
    assert states(the_study().trials) == ["FAIL", "WAITING"]
    assert [run.info.status for run in runs(quick)[1]] == ["FAILED"]
    assert len(counted(finish(2))) == 2


def test_what_interrupted_calls_hold_is_let_go_before_trials_are_stopped(quick, monkeypatch):
    class Cursor:
        """As one of a store, which holds its lock."""

    class Interrupting(Silent):
        def show_epoch(self, study, number, report):
            cursor = Cursor()
            cursors.append(weakref.ref(cursor))
            raise KeyboardInterrupt

    def retry(*arguments):
        still_there.append(cursors[0]())
        real_retry(*arguments)

    cursors, still_there, real_retry = [], [], driver.retry
    monkeypatch.setattr(driver, "retry", retry)
    with pytest.raises(KeyboardInterrupt):
        finish(1, Interrupting())
    assert still_there == [None]


def test_a_trial_that_another_program_ends_is_let_go(quick, monkeypatch):
    def told():
        study = the_study()
        if len(study.trials) == 1 and not study.trials[0].state.is_finished():
            study.tell(0, 0.999)

    monkeypatch.setattr(workers, "train_trial", FakeTraining(told))
    trials = finish(3)
    assert states(trials) == ["COMPLETE"] * 3
    assert [TRAINED in trial.user_attrs for trial in trials] == [False, True, True]
    parent, children = runs(quick)
    assert [run.info.status for run in children] == ["FAILED", "FINISHED", "FINISHED"]
    assert children[0].data.tags["failure"] == "another program ended the trial"
    assert parent.data.metrics["validation/accuracy"] == max(trial.value for trial in trials[1:])


def test_a_front_of_accuracy_and_cost(ready, command, monkeypatch):
    monkeypatch.setattr(driver, "draw_study", figures.draw_study)
    text = (ready / "params.yaml").read_text()
    (ready / "params.yaml").write_text(text.replace("space: {", "space: {network.num_steps: {low: 2, high: 6}, "))
    code, _, err = command("tune", "--trials", "3", "--cost", "num_steps")
    assert (code, err) == (0, "")
    assert all(trial.values[1] == trial.params["network.num_steps"] for trial in the_study().trials)
    client = mlflow.MlflowClient(f"sqlite:///{ready / 'mlflow.db'}")
    parent, _ = runs(ready)
    assert "pareto_front.png" in {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert parent.data.metrics["validation/accuracy"] == max(trial.values[0] for trial in the_study().trials)


def test_a_trial_costs_the_energy_with_memory(ready, command):
    assert command("tune", "--trials", "1", "--cost", "energy")[0] == 0
    (trial,) = the_study().trials
    _, (run,) = runs(ready)
    energy = run.data.metrics["validation/energy_with_memory_nanojoules_per_image"]
    assert trial.values[1] == energy > run.data.metrics["validation/energy_nanojoules_per_image"] / 100


def test_verbosity_of_optuna_is_changed_where_it_is_used(quick):
    optuna.logging.set_verbosity(optuna.logging.INFO)
    finish(1)
    assert optuna.logging.get_verbosity() == optuna.logging.ERROR


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trials", "0"], "--trials is 0; allowed is"),
        (["--cost", "x"], "--cost"),
        (["--timeout", "-1"], "--timeout is -1.0; allowed is"),
        (["--workers", "0"], "--workers is 0; allowed is"),
        (["--gpus-per-trial", "0.5"], "for --workers from 2, or with --ray"),
        (["--ray", "127.0.0.1:1"], "Ray at 127.0.0.1:1 does not work: [Errno 111] Connection refused"),
        (["--ray", "ray://127.0.0.1:1"], "--ray is 'ray://127.0.0.1:1'; allowed is HOST:PORT, or auto"),
        (["--storage", "mysql://me:secret@host/db"], "--storage is 'mysql://me:***@host/db'; allowed is postgresql://"),
        (
            ["--storage", "postgresql://me:secret@127.0.0.1:1/db"],
            "studies at postgresql://me:***@127.0.0.1:1/db do not",
        ),
        (["--storage", "postgresql://u@127.0.0.1:1/db"], "Connection refused"),
        (["--storage", "postgresql://u:u@127.0.0.1:1/db"], "Connection refused"),
    ],
)
def test_options_that_are_not_allowed_are_named(command, arguments, message):
    code, _, err = command("tune", *arguments)
    assert code == 2
    assert message in err
    assert "secret" not in err
    assert err.count("\n") == 1
