"""What tests of studies share."""

import sys

import mlflow

from lifline.params import read_params
from lifline.tuning.driver import tune

LIFLINE = [sys.executable, "-c", "from lifline.cli import main; main()"]


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
    return tune(read_params(), num_trials, watcher or Silent(), **options).trials


def outcome(trials):
    return [(trial.params, trial.values, trial.state) for trial in trials]


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
