"""`lifline tune`, `studies` and `promote` on real MNIST, real MLflow and Optuna's journal."""

import os
import signal
import subprocess

import mlflow
import optuna
import pytest

from lifline.errors import TrackingError, TrainingError, TuningError
from lifline.params import read_params
from lifline.presets import change_params
from lifline.tuning import trial as training_of_trials
from lifline.tuning.journal import JournalStore
from lifline.tuning.study import (
    AGAIN,
    DRIVER,
    MAX_DEATHS,
    counted,
    fail_dead_trials,
    next_trial,
    open_study,
    try_again,
)
from lifline.tuning.winner import all_studies, find_study, winner
from tests.tracking.runs import wait_for
from tests.tuning.studies import LIFLINE, finish, forget, outcome, runs


def test_the_first_trial_is_the_params_as_they_are(ready):
    first, second = finish(num_trials=2)
    assert first.params == {"network.beta": 0.9, "train.learning_rate": 0.01}
    assert second.params != first.params


def test_the_same_seed_gives_the_same_trials_stopped_in_between_or_not(ready):
    whole = outcome(finish(num_trials=4))
    forget(ready)
    for num_trials in (2, 4, 4):
        trials = finish(num_trials=num_trials)
    assert outcome(trials) == whole
    forget(ready)
    change_params({"train.seed": 1})
    assert outcome(finish(num_trials=2))[1] != whole[1]


def test_a_trial_trains_as_the_pipeline_does(ready, stage):
    (trial,) = finish(num_trials=1)
    change_params({"train.epochs": 2})
    assert stage("train")[0] == 0
    client = mlflow.MlflowClient(f"sqlite:///{ready / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("lifline").experiment_id])
    assert run.data.metrics["validation/accuracy"] == trial.value


def test_the_test_set_is_never_read(ready, mnist_folder):
    (ready / "data/mnist").unlink()
    (ready / "data/mnist").mkdir()
    for path in mnist_folder.glob("train-*"):
        (ready / "data/mnist" / path.name).symlink_to(path)
    assert len(finish(num_trials=2)) == 2


def test_mlflow_has_a_parent_with_a_child_for_each_trial(ready):
    trials = finish(num_trials=3)
    parent, children = runs(ready)
    (study,) = all_studies(JournalStore())
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
    assert parent.data.metrics == {"validation/accuracy": best.data.metrics["validation/accuracy"]}
    description = parent.data.tags["mlflow.note.content"]
    assert all(f"[{run.info.run_name}](" in description for run in children)
    assert description.index(best.info.run_id) == min(description.index(run.info.run_id) for run in children)
    figures = {file.path for file in client.list_artifacts(parent.info.run_id)}
    names = ("history", "importances", "parallel_coordinates", "slice")
    assert figures == {"params.yaml", *(f"{name}.png" for name in names)}


def test_a_hopeless_trial_is_pruned_and_its_run_killed(ready, monkeypatch):
    def hopeless(state, training, validation, params):
        for report in real_fit(state, training, validation, params):
            yield report if params.network.beta == 0.9 else report._replace(validation_accuracy=0.01)

    real_fit = training_of_trials.fit
    monkeypatch.setattr(training_of_trials, "fit", hopeless)
    monkeypatch.setattr("lifline.tuning.study.STARTUP_TRIALS", 1)
    text = (ready / "params.yaml").read_text()
    (ready / "params.yaml").write_text(text.replace("tune:\n  epochs: 2", "tune:\n  epochs: 4"))
    trials = finish(num_trials=2)
    assert [trial.state.name for trial in trials] == ["COMPLETE", "PRUNED"]
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
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL", "FAIL"]
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
    (study,) = all_studies(JournalStore())
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL"]


def test_a_trial_that_dies_with_each_process_is_given_up(ready):
    store, params = JournalStore(), read_params()
    study = open_study(store, params, None, None)
    for _ in range(MAX_DEATHS):
        trial = next_trial(store, study, params, 1, "a process that is gone")
        assert fail_dead_trials(store, study) == [trial.number]
    assert next_trial(store, study, params, 1, "another") is None
    assert [trial.state.name for trial in study.trials] == ["FAIL"] * MAX_DEATHS
    assert trial.params == {"network.beta": 0.9, "train.learning_rate": 0.01}


def test_a_trial_killed_while_it_is_asked_for_keeps_its_params(ready):
    store = JournalStore()
    study = open_study(store, read_params(), None, None)
    study.ask()  # without the space: none of its params is set
    fail_dead_trials(store, study)
    again = next_trial(store, study, read_params(), 1, "another")
    assert again.params == {"network.beta": 0.9, "train.learning_rate": 0.01}


def test_interrupted_it_leaves_nothing_running_and_tries_again(ready, command, monkeypatch):
    def interrupt(self, study, number, report):
        if number == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lifline.tuning.display.StudyDisplay.show_epoch", interrupt)
        code, _, err = command("tune", "--trials", "3")
    assert (code, err) == (130, "error: interrupted\n")
    (study,) = all_studies(JournalStore())
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL", "WAITING"]
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
    children = len(runs(ready)[1])
    process = subprocess.Popen([*LIFLINE, "tune", "--trials", "4"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(lambda: len(runs(ready)[1]) == children + 2, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert "RUNNING" in {trial.state.name for trial in all_studies(JournalStore())[0].trials}
    trials = finish(num_trials=4)
    again = [trial.user_attrs[AGAIN] for trial in trials if AGAIN in trial.user_attrs]
    assert {trials[number].state.name for number in again} == {"FAIL"}
    assert len(counted(trials)) == 4
    assert outcome(counted(trials)) == whole
    parent, children = runs(ready)
    assert parent.info.status == "FINISHED"
    assert "RUNNING" not in {run.info.status for run in children}


@pytest.mark.slow
def test_two_at_once_share_the_budget(ready):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [*LIFLINE, "tune", "--trials", "6"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
        )
        for _ in range(2)
    ]
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    (study,) = all_studies(JournalStore())
    assert len(study.trials) == 6
    assert len({trial.user_attrs[DRIVER] for trial in study.trials}) == 2
    assert {trial.state.name for trial in study.trials} <= {"COMPLETE", "PRUNED"}
    assert len(runs(ready)[1]) == 6


def test_a_front_of_accuracy_and_cost(ready, command):
    text = (ready / "params.yaml").read_text()
    (ready / "params.yaml").write_text(text.replace("space: {", "space: {network.num_steps: {low: 1, high: 6}, "))
    code, _, err = command("tune", "--trials", "5", "--cost", "num_steps")
    assert (code, err) == (0, "")
    (study,) = all_studies(JournalStore())
    assert all(trial.values[1] == trial.params["network.num_steps"] for trial in study.trials)
    client = mlflow.MlflowClient(f"sqlite:///{ready / 'mlflow.db'}")
    parent, _ = runs(ready)
    assert "pareto_front.png" in {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert "; front trial " in command("studies")[1]

    code, _, err = command("promote")
    assert code == 2
    assert "has a front; choose by --trial" in err
    front = study.best_trials
    cheapest, most_accurate = min(front, key=lambda t: t.values[1]), max(front, key=lambda t: t.values[0])
    assert winner(study, None, most_accurate.values[0], None).values == most_accurate.values
    assert winner(study, None, None, cheapest.values[1]).values == cheapest.values
    with pytest.raises(TuningError, match="no trial of study"):
        winner(study, None, 1.1, None)
    assert command("promote", "--max-cost", "6")[0] == 0
    assert read_params().network.num_steps == most_accurate.params["network.num_steps"]


def test_promote_writes_the_winner_and_nothing_else(ready, command):
    trials = finish(num_trials=3)
    before = read_params().flat()
    (study,) = all_studies(JournalStore())
    code, out, err = command("promote", "--trial", "1")
    assert (code, err) == (0, "")
    assert read_params().flat() == before | trials[1].params
    assert f"trial 1 of study {study.study_name}; `dvc repro` runs the pipeline" in out
    assert "+  beta: " in out
    change_params({"train.epochs": 3})
    code, out, _ = command("promote", "--trial", "1")
    assert (code, out.splitlines()[-1][:32]) == (0, "note: its trials had 2 epochs; w")
    change_params({"train.epochs": 1})
    assert command("promote")[0] == 0
    assert read_params().flat() == before | study.best_trial.params
    code, _, err = command("promote", "--trial", "9")
    assert (code, err) == (
        2,
        f"error: trial is 9; allowed of study {study.study_name} are 0, 1, 2, which are complete\n",
    )
    code, _, err = command("promote", "--max-cost", "3")
    assert (code, err[:37]) == (2, "error: --min-accuracy and --max-cost ")
    change_params({"network.threshold": 2.0})
    assert "note: the study had network.threshold 1.0; params.yaml has 2.0" in command("promote")[1]
    code, _, err = command("promote", "--study", "none")
    assert (code, err) == (2, f"error: study is 'none'; allowed are {study.study_name}\n")


def test_without_a_study_there_is_nothing_to_promote(ready, command):
    code, _, err = command("promote")
    assert (code, err) == (2, "error: there is no study; `lifline tune` makes one\n")
    assert command("studies") == (0, "0 in optuna.journal\n", "")


@pytest.mark.parametrize("name", ["journal", "drivers", "journal.lock"])
def test_a_study_may_have_the_name_of_what_is_locked(ready, name):
    assert len(finish(num_trials=1, name=name)) == 1


def test_a_study_that_is_not_liflines_is_left_alone(ready, command):
    theirs = optuna.create_study(storage=JournalStore().optuna, study_name="theirs")
    theirs.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    code, _, err = command("tune", "--study", "theirs")
    assert (code, err) == (2, "error: study theirs is not lifline's; give another --study\n")
    assert command("promote")[2] == "error: there is no study; `lifline tune` makes one\n"


def test_a_cost_that_no_param_changes_is_refused(ready, command):
    code, _, err = command("tune", "--cost", "num_steps")
    assert code == 2
    assert "tune.space has no network.num_steps" in err


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


def test_a_trial_that_is_stopped_often_is_still_tried_again(ready):
    store, params = JournalStore(), read_params()
    study = open_study(store, params, None, None)
    with store.driving() as driver:
        for _ in range(MAX_DEATHS + 1):
            trial = next_trial(store, study, params, 1, driver)
            try_again(study, trial.number, is_stopped=True)
        again = next_trial(store, study, params, 1, driver)
    assert again.params == {"network.beta": 0.9, "train.learning_rate": 0.01}


def test_a_name_belongs_to_one_space(ready, command):
    assert command("tune", "--trials", "1", "--study", "mine")[0] == 0
    change_params({"network.threshold": 2.0})
    code, _, err = command("tune", "--trials", "2", "--study", "mine")
    assert code == 2
    assert err == "error: study mine has another space, objective or other base params; give another --study\n"
    code, _, err = command("tune", "--study", "it's/mine")
    assert code == 2
    assert err == """error: study is "it's/mine"; allowed are letters, digits, and the signs _ . -\n"""
    assert command("tune", "--trials", "1")[0] == 0
    assert len(all_studies(JournalStore())) == 2
    code, out, _ = command("tune", "--trials", "1")
    assert code == 0
    assert ": 1 of 1 trials done\n" in out
    assert find_study(JournalStore(), "mine").study_name == "mine"
    assert find_study(JournalStore(), None).study_name != "mine"


def test_a_record_that_was_cut_short_is_dropped(ready):
    finish(num_trials=2)
    journal = ready / "optuna.journal"
    content = journal.read_bytes()
    journal.write_bytes(content + content.splitlines()[-1][:20])
    assert len(finish(num_trials=3)) == 3
    assert journal.read_bytes().startswith(content)


@pytest.mark.parametrize("damage", [b"{broken\n", b"5\n", b'{"op_code": 99, "worker_id": "a"}\n'])
def test_a_damaged_journal_is_named(ready, command, damage):
    finish(num_trials=1)
    journal = ready / "optuna.journal"
    journal.write_bytes(damage + journal.read_bytes())
    code, _, err = command("tune")
    assert code == 2
    assert err.startswith(f"error: {journal} is damaged: ")
    assert err.count("\n") == 1


def test_a_timeout_begins_no_trial_when_it_is_over(ready):
    assert len(finish(num_trials=50, timeout=0)) == 1
    assert [trial.state.name for trial in all_studies(JournalStore())[0].trials] == ["WAITING"]


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
    ],
)
def test_options_that_are_not_allowed_are_named(command, arguments, message):
    code, _, err = command("tune", *arguments)
    assert code == 2
    assert message in err
    assert "secret" not in err
    assert err.count("\n") == 1
