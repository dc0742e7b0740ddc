"""MLflow: one run per trained model holds all that is known of it; here runs are opened and closed."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from mlflow import MlflowClient, entities
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from lifline.params import Params
from lifline.presets import nearest_recipe
from lifline.system.secrets import censored
from lifline.system.signals import signals_held_off
from lifline.tracking.client import steady_client
from lifline.tracking.holders import dead_holders, holding, let_go
from lifline.tracking.origin import origin_tags
from lifline.tracking.run import Run, find_run, holders_of
from lifline.tracking.store import (
    EXPERIMENT,
    STORE_ERRORS,
    all_pages,
    exclusive,
    failing_fast,
    open_store,
    translated_errors,
)
from lifline.tracking.system_metrics import system_metrics
from lifline.tracking.tags import (
    FAILURE_TAG,
    HOLDER_TAG,
    MODEL_TAG,
    RECIPE_TAG,
    REPEATS_TRIAL_TAG,
    SEEDS_TAG,
    STUDY_TAG,
    TRIAL_TAG,
)
from lifline.tracking.uri import read_tracking_uri

SEEDS_EXPERIMENT = "lifline-seeds"
TUNING_EXPERIMENT = "lifline-tuning"
NOBODY = ""
MAX_FAILURE = 500
"""Characters of what is said of a failure."""


@contextmanager
def training_run(params: Params, device: str) -> Iterator[Run]:
    """A new run for a training. Closed as FINISHED, as KILLED when interrupted, as FAILED otherwise.

    Raises:
        TrackingError: MLflow cannot be reached, or refuses what it is given.
    """
    with _opened(params, {"device": device}, _pipeline_name(params)) as run, system_metrics(run):
        yield run


@contextmanager
def run_of_model(model_sha256: str, params: Params) -> Iterator[Run]:
    """The run that trained the model with this hash; where the store has none, a new one, tagged alike.

    Raises:
        TrackingError: as `training_run`.
    """
    with _opened(params, {MODEL_TAG: model_sha256}, _pipeline_name(params), known_by=MODEL_TAG) as run:
        yield run


@contextmanager
def seeds_run(params: Params, recipe_sha256: str) -> Iterator[Run]:
    """The parent run of a recipe's trainings with different seeds.

    Raises:
        TrackingError: as `training_run`.
    """
    tags, name = {SEEDS_TAG: recipe_sha256}, f"seeds of {nearest_recipe(params).title()}"
    with _opened(params, tags, name, known_by=SEEDS_TAG, experiment=SEEDS_EXPERIMENT) as run:
        yield run


@contextmanager
def seed_run(parent: Run, params: Params, device: str) -> Iterator[Run]:
    """A training's run inside of `seeds_run`.

    Raises:
        TrackingError: as `training_run`.
    """
    tags, name = {MLFLOW_PARENT_RUN_ID: parent.run_id, "device": device}, f"seed {params.train.seed}"
    with _opened(params, tags, name, experiment=SEEDS_EXPERIMENT) as run, system_metrics(run):
        yield run


def metrics_by_seed(parent: Run) -> dict[int, dict[str, float]]:
    """The metrics of the trainings inside of `seeds_run` that are done, by seed."""
    return {int(run.data.params["train.seed"]): run.data.metrics for run in _children(parent, "FINISHED")}


@contextmanager
def study_run(params: Params, study: str) -> Iterator[Run]:
    """The parent run of a study's trials, the same one whenever the study goes on, and for all who work on it.

    Raises:
        TrackingError: as `training_run`.
    """
    with _opened(params, {STUDY_TAG: study}, study, known_by=STUDY_TAG, experiment=TUNING_EXPERIMENT) as run:
        yield run


def start_trial_run(parent: Run, params: Params, number: int) -> Run:
    """A run of a trial inside of `study_run`; the caller ends it, since trials may run beside each other."""
    tags = {MLFLOW_PARENT_RUN_ID: parent.run_id, TRIAL_TAG: str(number)}
    tags |= _holder_tag(parent.holder, "FAILED")  # as the trial is then; KILLED is a pruned one's
    run = _new_run(parent.client, parent.experiment_id, f"trial {number}", tags, params, parent.holder)
    try:
        run.log_params(params)
    except Exception as error:
        with suppress(Exception):
            end_trial_run(run, "FAILED", type(error).__name__)
        raise
    return run


def log_repetition(parent: Run, trial: Run, number: int) -> None:
    """Note that a trial repeats the one with this number, and give its run what that one's has measured."""
    trial.set_tags({REPEATS_TRIAL_TAG: str(number)})
    its = f"tags.{MLFLOW_PARENT_RUN_ID} = '{parent.run_id}' and tags.{TRIAL_TAG} = '{number}'"
    for run in parent.client.search_runs([parent.experiment_id], its, max_results=1):
        trial.copy_metrics(run)


def end_trial_run(trial: Run, status: str, failure: str = "") -> None:
    """Close a trial's run as FINISHED, KILLED or FAILED."""
    if failure:
        trial.set_tags({FAILURE_TAG: failure[:MAX_FAILURE]})
    trial.end(status)
    trial.describe()


def running_trials(parent: Run) -> list[tuple[int, Run]]:
    """The numbers of the trials that have a RUNNING run, here or on another machine, and these runs.

    A run comes once for each of its holders, which all have to let go of it; one that nobody holds comes, too.
    """
    return [
        (int(run.data.tags[TRIAL_TAG]), Run(parent.client, run.info.run_id, parent.experiment_id, holder))
        for run in _children(parent, "RUNNING")
        if TRIAL_TAG in run.data.tags
        for holder in holders_of(run) or {NOBODY}
    ]


def close_dead_trial(parent: Run, number: int) -> None:
    """Close what a trial has RUNNING whose process died, which holds the study's run no longer either."""
    for trial_number, trial in running_trials(parent):
        if trial_number == number:
            end_trial_run(trial, "FAILED", "its process died")
            if trial.holder != parent.holder:
                parent.release(trial.holder)


def _children(parent: Run, status: str) -> list[entities.Run]:
    its = f"tags.{MLFLOW_PARENT_RUN_ID} = '{parent.run_id}' and attributes.status = '{status}'"
    return list(all_pages(parent.client.search_runs, [parent.experiment_id], its))


@contextmanager
def _opened(
    params: Params,
    tags: Mapping[str, str],
    name: str,
    known_by: str | None = None,
    experiment: str = EXPERIMENT,
) -> Iterator[Run]:
    """The newest run with the tag `known_by`; where there is none, a new one with these tags and its origin's."""
    uri = read_tracking_uri()
    with translated_errors(uri), ExitStack() as stack:
        experiment_id = open_store(uri, experiment)
        client = steady_client(uri)
        _close_runs_of_dead_processes(client, uri)
        holder = stack.enter_context(holding(uri))
        with exclusive(uri):  # two that begin at once are to find the same run
            known = find_run(client, experiment_id, known_by, tags[known_by]) if known_by else None
            holder_tag = _holder_tag(holder, "KILLED")
            all_tags = {} if known else {**origin_tags(holder), **tags, **holder_tag}
            with signals_held_off():  # else there is a run that nobody closes
                if known:
                    run = _open_again(client, known, holder, holder_tag)
                else:
                    run = _new_run(client, experiment_id, name, all_tags, params, holder)
                stack.enter_context(_closing(run, uri))
        if not known:
            run.log_params(params)
            if MLFLOW_PARENT_RUN_ID not in tags:
                run.log_files(Path("params.yaml"))
        run.describe()
        yield run
        run.describe()


def _new_run(
    client: MlflowClient, experiment_id: str, name: str, tags: Mapping[str, str], params: Params, holder: str
) -> Run:
    recipe = nearest_recipe(params).describe()
    created = client.create_run(experiment_id, tags={**tags, RECIPE_TAG: recipe}, run_name=name)
    return Run(client, created.info.run_id, experiment_id, holder)


def _open_again(client: MlflowClient, known: entities.Run, holder: str, holder_tag: Mapping[str, str]) -> Run:
    run = Run(client, known.info.run_id, known.info.experiment_id, holder)
    tags = dict(holder_tag)
    stages, stage = known.data.tags.get("dvc_stage", "").split(), os.environ.get("DVC_STAGE")
    if stage and stage not in stages:
        tags["dvc_stage"] = " ".join([*stages, stage])
    run.set_tags(tags)  # before it is RUNNING: a kill in between must not leave it so
    run.client.update_run(run.run_id, status="RUNNING")
    if FAILURE_TAG in known.data.tags:
        run.client.delete_tag(run.run_id, FAILURE_TAG)
    return run


def _holder_tag(holder: str, status_at_death: str) -> dict[str, str]:
    return {HOLDER_TAG + holder: f"{status_at_death} {os.uname().nodename}"}


def _close_runs_of_dead_processes(client: MlflowClient, uri: str) -> None:
    """Close what a SIGKILL or a power cut left RUNNING, with the status that the opener wished for that case."""
    experiments = [experiment.experiment_id for experiment in all_pages(client.search_experiments)]
    with exclusive(uri):  # nobody lets go of these runs meanwhile
        for holder in dead_holders(uri):
            its = f"tags.`{HOLDER_TAG}{holder}` LIKE '%'"
            for found in list(all_pages(client.search_runs, experiments, its)):
                run = Run(client, found.info.run_id, found.info.experiment_id, holder)
                _let_go_of_dead(run, found.data.tags[HOLDER_TAG + holder])


def _let_go_of_dead(run: Run, holder_tag: str) -> None:
    found = run.read()
    if found.info.status != "RUNNING":
        run.release(run.holder)
        return
    if holders_of(found) <= {run.holder}:
        run.set_tags({FAILURE_TAG: "its process died"})
    run.end("FAILED" if holder_tag.startswith("FAILED ") else "KILLED")


@contextmanager
def _closing(run: Run, uri: str) -> Iterator[None]:
    """Close a run with the status that the body's end gives it; what cannot be closed keeps its lock file."""
    try:
        yield
    except BaseException as error:
        with signals_held_off(), failing_fast():
            failure = censored(f"{type(error).__name__}: {error}", uri)
            with suppress(Exception):  # the body's error is the one to tell
                run.set_tags({FAILURE_TAG: failure[:MAX_FAILURE]})
            if not isinstance(error, STORE_ERRORS):  # a store that is gone takes time to be asked
                run.describe()
            with suppress(Exception):
                _end(run, uri, "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    with signals_held_off():
        _end(run, uri, "FINISHED")


def _end(run: Run, uri: str, status: str) -> None:
    _close_runs_of_dead_processes(run.client, uri)  # or one that held this run, too, would keep it RUNNING
    with exclusive(uri):
        run.end(status)
    let_go(run.holder)


def _pipeline_name(params: Params) -> str:
    title, experiment = nearest_recipe(params).title(), os.environ.get("DVC_EXP_NAME")
    return f"{experiment} ({title})" if experiment else title
