"""What tests of studies share. Run as a script, it is `lifline` with trials on few images."""

import os
import signal
import sys
from itertools import count

import mlflow

from lifline.params import read_params
from lifline.tuning import driver, workers
from lifline.tuning.journal import JournalStore
from lifline.tuning.winner import all_studies

LIFLINE = [sys.executable, __file__]
NUM_IMAGES = 400
DATA = "da" * 32
"""The SHA-256 of some data set."""
SMALL_TRIALS = {"train.learning_rate": 0.01, "network.beta": 0.9, "data.validation_size": 100}


class Silent:
    """A watcher that looks away."""

    def show_start(self, study):
        pass

    def show_waiting(self):
        pass

    def show_epoch(self, study, number, report):
        pass

    def show_trial(self, study, trial):
        pass


def finish(num_trials, watcher=None, **options):
    """Run a study to its end; its trials."""
    return driver.tune(read_params(), num_trials, watcher or Silent(), **options).trials


def outcome(trials):
    return [(trial.params, trial.values, trial.state) for trial in trials]


def states(trials):
    return [trial.state.name for trial in trials]


def the_study():
    """The one study in the journal."""
    (study,) = all_studies(JournalStore())
    return study


def runs(workspace):
    """The study's parent and its children."""
    client = mlflow.MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("lifline-tuning")
    every = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"])
    (parent,) = [run for run in every if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in every if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(children) == len(every) - 1
    return parent, children


def forget(workspace):
    (workspace / "optuna.journal").unlink()


def longer_trials(workspace, epochs):
    text = (workspace / "params.yaml").read_text()
    (workspace / "params.yaml").write_text(text.replace("tune:\n  epochs: 2", f"tune:\n  epochs: {epochs}"))


def set_space(workspace, space):
    head, _, _ = (workspace / "params.yaml").read_text().partition("  space:")
    (workspace / "params.yaml").write_text(f"{head}  space: {space}\n")


def _main():
    from lifline.cli import main

    driver.draw_study = lambda _: {}
    if "KILLED_IN_TRIAL" in os.environ:
        train, begun = workers.train_trial, count()
        workers.train_trial = lambda *trial: (
            kill() if next(begun) == int(os.environ["KILLED_IN_TRIAL"]) else train(*trial)
        )
    main()


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    _main()
