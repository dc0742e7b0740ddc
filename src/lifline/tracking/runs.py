"""MLflow: one run per trained model holds all that is known of it."""

import atexit
import hashlib
import logging
import os
import platform
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import mlflow
import numpy as np
import onnx
from mlflow.data.http_dataset_source import HTTPDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import LoggedModelOutput, Metric, Param, Run
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from lifline.data.datasets import MNIST
from lifline.errors import RegistryError
from lifline.params import Params
from lifline.paths import repository_root
from lifline.presets import nearest_recipe
from lifline.system.locks import abandoned, locked
from lifline.system.secrets import censored
from lifline.system.signals import signals_held_off
from lifline.tracking.description import Described, describe_run
from lifline.tracking.store import (
    EXPERIMENT,
    STORE_ERRORS,
    alone_in,
    client,
    failing_fast,
    open_store,
    reason,
    translated_errors,
)
from lifline.tracking.uri import read_tracking_uri
from lifline.training.report import EpochReport

SEEDS_EXPERIMENT = "lifline-seeds"
TUNING_EXPERIMENT = "lifline-tuning"
MODEL_TAG = "model_sha256"
RECIPE_TAG = "recipe"
SEEDS_TAG = "recipe_sha256"
STUDY_TAG = "study"
TRIAL_TAG = "trial"
LOCK_TAG = "lock"
ONNX_TAG = "onnx_sha256"
FAILURE_TAG = "failure"
DESCRIPTION_TAG = "mlflow.note.content"
DATASET_URL = "http://yann.lecun.com/exdb/mnist/"
LIBRARIES = ("torch", "numpy", "onnx", "onnxruntime", "mlflow", "dvc")
logging.getLogger("mlflow").setLevel(logging.WARNING)
for part in ("store.db", "system_metrics"):  # an error of the one is raised, too; one of the other stops no stage
    logging.getLogger(f"mlflow.{part}").setLevel(logging.CRITICAL)

MAX_CHILDREN = 10
"""In a run's description."""

METRICS_PER_BATCH = 1000  # MLflow's own limit


def download(uri: str, folder: Path) -> None:
    """Copy a model's files into a folder, by a URI such as `models:/lifline@champion`.

    Raises:
        RegistryError: there is none.
    """
    try:
        mlflow.artifacts.download_artifacts(uri, dst_path=str(folder))
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND"):
            raise
        why = reason(error).rstrip(".")
        raise RegistryError(f"there is no model {uri}: {why}; `lifline champion` names one @champion") from None


@contextmanager
def training_run(params: Params, device: str) -> Iterator[None]:
    """A new run for a training. Closed as FINISHED, as KILLED when interrupted, as FAILED otherwise.

    Raises:
        TrackingError: MLflow cannot be reached, or refuses what it is given.
    """
    with _run(params, {"device": device}, name=_pipeline_name(params), log_system_metrics=True):
        yield


@contextmanager
def run_of_model(model_sha256: str, params: Params) -> Iterator[None]:
    """The run that trained the model with this hash; where the store has none, a new one, tagged alike.

    Raises:
        TrackingError: as `training_run`.
    """
    with _run(params, {MODEL_TAG: model_sha256}, known_by=MODEL_TAG, name=_pipeline_name(params)):
        yield


def _pipeline_name(params: Params) -> str:
    title, experiment = nearest_recipe(params).title(), os.environ.get("DVC_EXP_NAME")
    return f"{experiment} ({title})" if experiment else title


@contextmanager
def seeds_run(params: Params, recipe_sha256: str) -> Iterator[dict[int, dict[str, float]]]:
    """The parent run of a recipe's trainings with different seeds; yields the metrics of those that are done, by seed.

    Raises:
        TrackingError: as `training_run`.
    """
    tags, name = {SEEDS_TAG: recipe_sha256}, f"seeds of {nearest_recipe(params).title()}"
    with _run(params, tags, known_by=SEEDS_TAG, name=name, experiment=SEEDS_EXPERIMENT):
        parent = active_run().info
        children = client().search_runs(
            [parent.experiment_id],
            filter_string=f"tags.{MLFLOW_PARENT_RUN_ID} = '{parent.run_id}' and attributes.status = 'FINISHED'",
        )
        yield {int(run.data.params["train.seed"]): run.data.metrics for run in children}


@contextmanager
def seed_run(params: Params, device: str) -> Iterator[None]:
    """A training's run inside of `seeds_run`.

    Raises:
        TrackingError: as `training_run`.
    """
    name = f"seed {params.train.seed}"
    with _run(params, {"device": device}, name=name, log_system_metrics=True, experiment=SEEDS_EXPERIMENT):
        yield


class ParentRun(NamedTuple):
    """The run of a study, and what marks its children as this process's."""

    run_id: str
    experiment_id: str
    lock: str


@contextmanager
def study_run(params: Params, study: str) -> Iterator[ParentRun]:
    """The parent run of a study's trials, the same one whenever the study goes on, and for all who work on it.

    Raises:
        TrackingError: as `training_run`.
    """
    with _run(params, {STUDY_TAG: study}, known_by=STUDY_TAG, name=study, experiment=TUNING_EXPERIMENT) as lock:
        info = active_run().info
        yield ParentRun(info.run_id, info.experiment_id, lock)


def start_trial_run(parent: ParentRun, params: Params, number: int) -> str:
    """A run of a trial inside of `study_run`; returns its id, since trials may run beside each other."""
    recipe = nearest_recipe(params).describe()
    tags = {MLFLOW_PARENT_RUN_ID: parent.run_id, LOCK_TAG: parent.lock, TRIAL_TAG: str(number), RECIPE_TAG: recipe}
    run_id = str(client().create_run(parent.experiment_id, tags=tags, run_name=f"trial {number}").info.run_id)
    try:
        client().log_batch(run_id, params=[Param(name, str(value)) for name, value in params.flat().items()])
    except Exception as error:
        with suppress(Exception):
            end_trial_run(run_id, "FAILED", type(error).__name__)
        raise
    return run_id


def log_trial_epoch(run_id: str, report: EpochReport) -> None:
    """Log an epoch's metrics to a trial's run."""
    mlflow.log_metrics(dict(_flat(report.as_metrics())), step=report.epoch, run_id=run_id)


def log_trial_score(run_id: str, metrics: Mapping[str, Any]) -> None:
    """Log what the trained network does with the validation images."""
    mlflow.log_metrics(dict(_flat({"validation": metrics})), run_id=run_id)


def end_trial_run(run_id: str, status: str, reason: str = "") -> None:
    """Close a trial's run as FINISHED, KILLED or FAILED."""
    if reason:
        client().set_tag(run_id, FAILURE_TAG, reason[:500])
    client().set_terminated(run_id, status)
    _describe(run_id)


def end_trial_runs(parent: ParentRun, number: int, status: str, reason: str) -> None:
    """Close what a trial has RUNNING, here or on another machine."""
    for run in _running_trial_runs(parent):
        if run.data.tags[TRIAL_TAG] == str(number):
            end_trial_run(run.info.run_id, status, reason)


def running_trials(parent: ParentRun) -> set[int]:
    """The numbers of the trials that have a RUNNING run."""
    return {int(run.data.tags[TRIAL_TAG]) for run in _running_trial_runs(parent)}


def _running_trial_runs(parent: ParentRun) -> list[Run]:
    its = f"tags.{MLFLOW_PARENT_RUN_ID} = '{parent.run_id}' and attributes.status = 'RUNNING'"
    return [run for run in client().search_runs([parent.experiment_id], its) if TRIAL_TAG in run.data.tags]


def log_figures(figures: Mapping[str, bytes]) -> None:
    """Log PNGs by name to the active run: among its files, not in a folder, which the UI's comparison does not open."""
    with TemporaryDirectory() as folder:
        for name, png in figures.items():
            path = Path(folder, name)
            path.write_bytes(png)
            log_files(path)


def tag_model(model_sha256: str) -> None:
    """Join the active run to the model that it trained.

    Where an earlier run trained the very same model, its tests and its ONNX model are this run's too: DVC skips
    evaluate and export for a model that has not changed.
    """
    run = active_run()
    earlier = _find_run(run.info.experiment_id, MODEL_TAG, model_sha256)
    if earlier:
        mlflow.set_tag("repeats_run", earlier.info.run_id)
        _copy_what_is_missing(client().get_run(earlier.info.run_id), run)
    mlflow.set_tag(MODEL_TAG, model_sha256)


def _copy_what_is_missing(earlier: Run, run: Run) -> None:
    metrics = earlier.data.metrics.items()
    missing = {name: value for name, value in metrics if name not in run.data.metrics}
    mlflow.log_metrics({name: value for name, value in missing.items() if name.startswith(("test/", "export/"))})
    if earlier.inputs and earlier.inputs.dataset_inputs:
        client().log_inputs(run.info.run_id, datasets=earlier.inputs.dataset_inputs)
    if models := _logged_models(earlier):
        client().log_outputs(run.info.run_id, models)
    with TemporaryDirectory() as folder:
        for name in _artifacts(earlier) - _artifacts(run):
            log_files(Path(client().download_artifacts(earlier.info.run_id, name, folder)))


def log_dataset(name: str, context: str) -> None:
    """Log MNIST, by its hash, as an input of the active run."""
    source = HTTPDatasetSource(url=DATASET_URL)
    dataset = MetaDataset(source=source, name=name, digest=MNIST.sha256[:16])  # type: ignore[abstract]
    mlflow.log_input(dataset, context=context)


def log_epoch(report: EpochReport) -> None:
    """Log an epoch's metrics, and the loss at each of its iterations."""
    speed = {"images_per_second": report.images_per_second, "epoch_seconds": report.seconds}
    log_metrics(report.as_metrics() | {"speed": speed}, step=report.epoch)
    now = int(time.time() * 1000)
    first = report.iteration - len(report.losses) + 1
    metrics = [Metric("train/iteration_loss", loss, now, first + i) for i, loss in enumerate(report.losses)]
    for start in range(0, len(metrics), METRICS_PER_BATCH):
        client().log_batch(active_run().info.run_id, metrics=metrics[start : start + METRICS_PER_BATCH])


def log_resumption(reports: Sequence[EpochReport]) -> None:
    """Log the epochs that an earlier run, which was killed, had finished."""
    mlflow.set_tag("resumed_after_epoch", reports[-1].epoch)
    for report in reports:
        log_epoch(report)


def log_metrics(metrics: Mapping[str, Any], step: int = 0) -> None:
    """Log nested metrics under names joined by slashes, by which the UI groups them."""
    mlflow.log_metrics(dict(_flat(metrics)), step=step)


def log_missing(metrics: Mapping[str, Any], *paths: Path) -> None:
    """Log those of these metrics and files that the active run does not have."""
    run = active_run()
    mlflow.log_metrics({name: value for name, value in _flat(metrics) if name not in run.data.metrics})
    there = _artifacts(run)
    log_files(*(path for path in paths if path.name not in there))


def log_files(*paths: Path) -> None:
    """Log those of these files that are there as artifacts."""
    for path in paths:
        if path.is_file():
            _log_file(path)


def _log_file(path: Path) -> None:
    try:
        mlflow.log_artifact(str(path))
    except OSError as error:
        if error.errno and error.filename is None:  # a full disk shows in write(), which knows no name
            error.filename = mlflow.get_artifact_uri()
        raise


def log_onnx(model: onnx.ModelProto) -> str:
    """Log an exported network as an MLflow model, which `mlflow.pyfunc.load_model` loads; returns its id.

    Where the run has it already, that one's.
    """
    sha256 = hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
    run = active_run()
    same = client().search_logged_models([run.info.experiment_id], filter_string=f"tags.{ONNX_TAG} = '{sha256}'")
    if there := {logged.model_id for logged in same} & {logged.model_id for logged in _logged_models(run)}:
        return min(there)
    (image,) = model.graph.input
    logged = mlflow.onnx.log_model(
        model,
        name="model",
        signature=ModelSignature(Schema([_spec(image)]), Schema([_spec(output) for output in model.graph.output])),
        input_example={image.name: np.zeros((1, 1, MNIST.shape[-1], MNIST.shape[-1]), dtype=np.float32)},
        tags={ONNX_TAG: sha256},
        pip_requirements=[f"{name}=={version(name)}" for name in ("mlflow", "numpy", "onnx", "onnxruntime")],
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
    )
    return str(logged.model_id)


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    """An input or output of a model; axes without a fixed length have -1."""
    tensor = value.type.tensor_type
    shape = tuple(axis.dim_value or -1 for axis in tensor.shape.dim)
    return TensorSpec(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type), shape, value.name)


@contextmanager
def _run(
    params: Params,
    tags: Mapping[str, str],
    name: str | None,
    known_by: str | None = None,
    log_system_metrics: bool = False,
    experiment: str = EXPERIMENT,
) -> Iterator[str]:
    """The newest run with the tag `known_by`; where there is none, a new one with these tags and its origin's.

    Yields the name of the lock that this process holds while the run is its own.
    """
    uri = read_tracking_uri()
    lock = _locks() / token_hex(16)
    with translated_errors(uri):
        experiment_id = open_store(uri, experiment)
        _close_runs_of_dead_processes()
        with locked(lock), _closing_run(lock):
            with alone_in(uri):  # two that begin at once are to find the same run
                known = _find_run(experiment_id, known_by, tags[known_by]) if known_by else None
                if known:
                    _open_again(known, lock)
                else:
                    recipe = {RECIPE_TAG: nearest_recipe(params).describe()}
                    new_tags = {**tags, **recipe, **_origin(), LOCK_TAG: lock.name}
                    _open_new(experiment_id, name, params, new_tags, log_system_metrics)
            yield lock.name
            _describe(active_run().info.run_id)


def _open_new(
    experiment_id: str, name: str | None, params: Params, tags: dict[str, str], log_system_metrics: bool
) -> None:
    is_nested = mlflow.active_run() is not None
    with signals_held_off():
        mlflow.start_run(
            experiment_id=experiment_id,
            run_name=name,
            tags=tags,
            log_system_metrics=log_system_metrics,
            nested=is_nested,
        )
    mlflow.log_params(params.flat())
    _describe(active_run().info.run_id)
    if not is_nested:
        log_files(Path("params.yaml"))


def _open_again(run: Run, lock: Path) -> None:
    run_id, stages, stage = run.info.run_id, run.data.tags.get("dvc_stage", "").split(), os.environ.get("DVC_STAGE")
    client().set_tag(run_id, LOCK_TAG, lock.name)  # before it is RUNNING: see _close_runs_of_dead_processes
    with signals_held_off():
        mlflow.start_run(run_id, log_system_metrics=False)
    if stage and stage not in stages:
        mlflow.set_tag("dvc_stage", " ".join([*stages, stage]))
    if FAILURE_TAG in run.data.tags:
        mlflow.delete_tag(FAILURE_TAG)


def _describe(run_id: str) -> None:
    """Write what is known of a run into its description; no training is to fail for want of that."""
    with suppress(*STORE_ERRORS):
        client().set_tag(run_id, DESCRIPTION_TAG, _description(run_id))


def _description(run_id: str) -> str:
    run = client().get_run(run_id)
    parent_id, model_sha256 = run.data.tags.get(MLFLOW_PARENT_RUN_ID), run.data.tags.get(MODEL_TAG)
    versions = client().search_model_versions(f"tags.{MODEL_TAG} = '{model_sha256}'") if model_sha256 else []
    children = client().search_runs(
        [run.info.experiment_id],
        f"tags.{MLFLOW_PARENT_RUN_ID} = '{run_id}' and attributes.status = 'FINISHED'",
        order_by=["metrics.`validation/accuracy` DESC"],
        max_results=MAX_CHILDREN + 1,
    )
    return describe_run(
        _described(run),
        run.data.tags.get(RECIPE_TAG, ""),
        _described(client().get_run(parent_id)) if parent_id else None,
        [_described(child) for child in children[:MAX_CHILDREN]],
        len(children) > MAX_CHILDREN,
        (versions[0].name, versions[0].version) if versions else None,
    )


def _described(run: Run) -> Described:
    info = run.info
    return Described(info.experiment_id, info.run_id, info.run_name, run.data.params, run.data.metrics)


@contextmanager
def _closing_run(lock: Path) -> Iterator[None]:
    """Close the active run with the status that the body's end gives it; what cannot be closed keeps its lock file."""
    try:
        yield
    except BaseException as error:
        status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
        with signals_held_off(), failing_fast():
            if run := mlflow.active_run():
                failure = censored(f"{type(error).__name__}: {error}", mlflow.get_tracking_uri())
                with suppress(Exception):  # the body's error is the one to tell
                    client().set_tag(run.info.run_id, FAILURE_TAG, failure[:500])
                if not isinstance(error, STORE_ERRORS):  # a store that is gone takes time to be asked
                    _describe(run.info.run_id)
                with suppress(Exception):
                    _end_run(status, lock)
        raise
    with signals_held_off():
        _end_run("FINISHED", lock)


def _end_run(status: str, lock: Path) -> None:
    """End the active run; a study's goes on as long as another process has a trial in it."""
    run = mlflow.active_run()
    if run and (others := _trials_of_others(run, lock.name)):
        mlflow.set_tag(LOCK_TAG, others[0].data.tags[LOCK_TAG])
        status = "RUNNING"
    mlflow.end_run(status)
    lock.unlink()


def _trials_of_others(run: Run, lock: str) -> list[Run]:
    if STUDY_TAG not in run.data.tags:
        return []
    children = _running_trial_runs(ParentRun(run.info.run_id, run.info.experiment_id, lock))
    return [child for child in children if child.data.tags[LOCK_TAG] != lock]


@atexit.register  # before MLflow's own, which would say that it has FINISHED
def _fail_run_left_open() -> None:
    while mlflow.active_run():
        with suppress(Exception):
            mlflow.end_run("FAILED")


def _origin() -> dict[str, str]:
    """What made a run: data, code, experiment and libraries."""
    names = {"dvc_stage": "DVC_STAGE", "dvc_exp_name": "DVC_EXP_NAME"}
    return {
        "data_sha256": MNIST.sha256,
        "kernels": os.environ.get("LIFLINE_KERNELS", "fused"),
        **{tag: value for tag, name in names.items() if (value := os.environ.get(name))},
        **_git_tags(),
        "version.python": platform.python_version(),
        **{f"version.{library}": version(library) for library in LIBRARIES},
    }


def _git_tags() -> dict[str, str]:
    """The commit, and whether code or params differ from it; what the pipeline itself writes does not count."""
    outputs = [":(exclude)dvc.lock", ":(exclude)reports"]
    commit = _git("rev-parse", "HEAD")
    with TemporaryDirectory() as folder:  # an index of its own: DVC's experiments leave changed params marked as clean
        index = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
        _git("read-tree", "HEAD", **index)
        changes = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *outputs, **index)
    if commit is None or changes is None:
        return {}
    return {"git_commit": commit, "git_dirty": str(bool(changes)).lower()}


def _git(*arguments: str, **environment: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments],  # noqa: S607
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _find_run(experiment_id: str, tag: str, value: str) -> Run | None:
    """The newest run with this tag."""
    runs = client().search_runs(
        [experiment_id],
        filter_string=f"tags.{tag} = '{value}'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    return runs[0] if runs else None


def _close_runs_of_dead_processes() -> None:
    """Close what a SIGKILL or a power cut left RUNNING: its lock file is here, but nobody holds it.

    A run is KILLED then; a trial's is FAILED, as the trial is, since KILLED stands for pruned.
    """
    experiments = [experiment.experiment_id for experiment in client().search_experiments()]
    for lock in abandoned(_locks()):
        runs = client().search_runs(experiments, filter_string=f"tags.{LOCK_TAG} = '{lock.name}'")
        for run in runs:
            if run.info.status == "RUNNING":
                client().set_tag(run.info.run_id, FAILURE_TAG, "its process died")
                client().set_terminated(run.info.run_id, "FAILED" if TRIAL_TAG in run.data.tags else "KILLED")
        if runs:
            lock.unlink()


def _locks() -> Path:
    return repository_root() / ".running"


def _logged_models(run: Run) -> list[LoggedModelOutput]:
    return run.outputs.model_outputs if run.outputs else []


def _artifacts(run: Run) -> set[str]:
    return {file.path for file in client().list_artifacts(run.info.run_id) if not file.is_dir}


def _flat(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Lists are tables, which no metric can hold."""
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        elif not isinstance(value, list):
            yield f"{prefix}{name}", float(value)


def active_run() -> Run:
    """The active run, as the store has it now."""
    active = mlflow.active_run()
    assert active is not None
    return client().get_run(active.info.run_id)
