"""A run of MLflow, and what is logged to it."""

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import onnx
from mlflow import MlflowClient, entities
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from lifline.params import Params
from lifline.provenance import recorded_source
from lifline.system.files import sha256_of_bytes, write_bytes, write_csv
from lifline.tracking.dataset import Part, data_tags, dataset_input
from lifline.tracking.description import ZEROS_SKIPPED, describe
from lifline.tracking.holders import temporary_folder
from lifline.tracking.onnx_model import save_onnx_model
from lifline.tracking.store import STORE_ERRORS, all_pages
from lifline.tracking.tags import DESCRIPTION_TAG, EXPORT_TAG, HOLDER_TAG, MODEL_TAG, WARNINGS_TAG

if TYPE_CHECKING:  # they need PyTorch, which the registry does without
    from lifline.data.datasets import Dataset
    from lifline.training.diagnosis import Finding
    from lifline.training.report import EpochReport

NOT_OF_A_KEY = re.compile(r"[^\w -]")
METRICS_PER_BATCH = 1000  # MLflow's own limit

LEADING = ("validation/accuracy", "test/accuracy")
"""Logged before the others: MLflow's pages open on the metric that a run had first."""

NO_FILES: Mapping[str, bytes] = MappingProxyType({})

AS_TAGS = ("num_seeds", *(f"{part}/{name}" for part in ("test", "validation") for name in ("total", *ZEROS_SKIPPED)))
"""Figures that are tags, not metrics: what was counted, not how well it went, and what a description alone tells."""

OF_THE_MODEL = ("test/", "export/")
"""What is true of a model whoever trains it again."""


@dataclass(frozen=True)
class Run:
    """A run that this process holds. Its methods raise the errors of the store and of the files."""

    client: MlflowClient
    run_id: str
    experiment_id: str
    holder: str
    """The name under which this process holds it."""

    def read(self) -> entities.Run:
        """The run as the store has it now."""
        return self.client.get_run(self.run_id)

    def log_params(self, params: Params) -> None:
        """Log all params, which MLflow keeps as they are logged first."""
        logged = [Param(name, str(value)) for name, value in params.flat().items()]
        self.client.log_batch(self.run_id, params=logged, synchronous=True)

    def log_metrics(self, metrics: Mapping[str, Any], step: int = 0) -> None:
        """Log nested metrics under names joined by slashes, by which the UI groups them."""
        self._log_flat(dict(_flat(metrics)), step)

    def log_epoch(self, report: "EpochReport") -> None:
        """Log an epoch's metrics, and the loss at each of its iterations."""
        speed = {"images_per_second": report.images_per_second, "epoch_seconds": report.seconds}
        self.log_metrics(report.as_metrics() | {"speed": speed}, step=report.epoch)
        now = _milliseconds()
        first = report.iteration - len(report.losses) + 1
        losses = enumerate(report.losses, start=first)
        self._log_batches([Metric("train/iteration_loss", loss, now, iteration) for iteration, loss in losses])

    def log_resumption(self, reports: "Sequence[EpochReport]") -> None:
        """Log the epochs that an earlier run, which was killed, had finished."""
        self.set_tags({"resumed_after_epoch": str(reports[-1].epoch)})
        for report in reports:
            self.log_epoch(report)

    def log_warnings(self, findings: "Sequence[Finding]") -> None:
        """Tell what is wrong with the training, as after its latest epoch, in place of what was told before."""
        told = self.read().data.tags.get(WARNINGS_TAG, "")
        if (warnings := "\n".join(map(str, findings))) != told:
            self.set_tags({WARNINGS_TAG: warnings})

    def log_missing(self, metrics: Mapping[str, Any], *paths: Path) -> None:
        """Log those of these metrics and files that the run does not have."""
        run = self.read()
        there = run.data.metrics.keys() | run.data.tags.keys()
        self._log_flat({name: value for name, value in _flat(metrics) if name not in there})
        files = self._files(run)
        self.log_files(*(path for path in paths if path.name not in files))

    def copy_metrics(self, other: entities.Run) -> None:
        """Log the metrics that another run has, but for those of its machine, and its figures that are tags."""
        self._log_flat({name: value for name, value in other.data.metrics.items() if not name.startswith("system/")})
        self.set_tags({name: text for name, text in other.data.tags.items() if name in AS_TAGS})

    def log_files(self, *paths: Path) -> None:
        """Log those of these files that are there as artifacts."""
        for path in paths:
            if path.is_file():
                self._log_file(path)

    def log_figures(self, figures: Mapping[str, bytes]) -> None:
        """Log PNGs by name: among the files, not in a folder, which the UI's comparison does not open."""
        with temporary_folder(self.holder) as folder:
            for name, png in figures.items():
                path = folder / name
                path.write_bytes(png)
                self._log_file(path)

    def log_table(self, name: str, header: list[str], rows: Iterable[Iterable[Any]]) -> None:
        """Log a table with a header line as a CSV file."""
        with temporary_folder(self.holder) as folder:
            write_csv(folder / name, header, rows)
            self._log_file(folder / name)

    def log_dataset(self, dataset: "Dataset", part: Part) -> None:
        """Log a part of a data set, by the hash of the whole, as what the run reads; tags tell what it is."""
        source = recorded_source(dataset.sha256)
        inputs = [dataset_input(dataset, part, source)]
        try:
            self.client.log_inputs(self.run_id, inputs)
        except MlflowException:  # as where another run has just made the same data set: now it is there
            self.client.log_inputs(self.run_id, inputs)
        self.set_tags(data_tags(dataset, source))

    def log_onnx(self, model: bytes, files: Mapping[str, bytes] = NO_FILES) -> str:
        """Log an exported network as an MLflow model, which `mlflow.pyfunc.load_model` loads; returns its id.

        Where the run has it already, that one's. One that an interruption left without its files is deleted.

        Args:
            model: the network as an ONNX file.
            files: what else is kept beside it, by path.
        """
        sha256 = _sha256({"": model} | dict(files))
        run = self.read()
        outputs = {output.model_id for output in _model_outputs(run)}
        same = all_pages(self.client.search_logged_models, [self.experiment_id], f"tags.{EXPORT_TAG} = '{sha256}'")
        own = [each for each in same if each.source_run_id == self.run_id or each.model_id in outputs]
        for unfinished in (each for each in own if each.status != LoggedModelStatus.READY):
            self.client.delete_logged_model(unfinished.model_id)
        ready = sorted(each.model_id for each in own if each.status == LoggedModelStatus.READY)
        model_id = ready[0] if ready else self._new_model(model, files, {EXPORT_TAG: sha256}, run).model_id
        if model_id not in outputs:
            self.client.log_outputs(self.run_id, [LoggedModelOutput(model_id, step=0)])
        return model_id

    def tag_model(self, model_sha256: str) -> None:
        """Join the run to the model that it trained.

        Where an earlier run trained the very same model, its tests and its ONNX model are this run's too: DVC skips
        evaluate and export for a model that has not changed.
        """
        earlier = find_run(self.client, self.experiment_id, MODEL_TAG, model_sha256)
        if earlier is not None and earlier.info.run_id != self.run_id:
            self.set_tags({"repeats_run": earlier.info.run_id})
            self._copy_what_is_missing(earlier)
        self.set_tags({MODEL_TAG: model_sha256})

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        self.client.log_batch(self.run_id, tags=[RunTag(name, text) for name, text in tags.items()], synchronous=True)

    def describe(self) -> None:
        """Write what is known of the run into its description; no training is to fail for want of that."""
        with suppress(*STORE_ERRORS):
            self.set_tags({DESCRIPTION_TAG: describe(self.client, self.read())})

    def holders(self) -> set[str]:
        """The names of the processes that hold the run."""
        return holders_of(self.read())

    def release(self, holder: str) -> None:
        """Note that a process no longer holds the run."""
        if holder in self.holders():
            self.client.delete_tag(self.run_id, HOLDER_TAG + holder)

    def end(self, status: str) -> None:
        """Let go of the run as FINISHED, KILLED or FAILED; where other processes hold it, it goes on."""
        if self.holders() <= {self.holder}:
            self.client.set_terminated(self.run_id, status)
        self.release(self.holder)
        run = self.read()
        if run.info.status == "RUNNING" and not holders_of(run):  # the others let go at the same time
            self.client.set_terminated(self.run_id, status)

    def _log_flat(self, metrics: Mapping[str, float], step: int = 0) -> None:
        leading = {name: metrics[name] for name in LEADING if name in metrics}
        tags = {name: f"{value:.0f}" for name, value in metrics.items() if name in AS_TAGS}
        now = _milliseconds()
        ordered = {name: value for name, value in (leading | dict(metrics)).items() if name not in tags}
        self._log_batches([Metric(name, value, now, step) for name, value in ordered.items()])
        if tags:
            self.set_tags(tags)

    def _log_batches(self, metrics: Sequence[Metric]) -> None:
        for start in range(0, len(metrics), METRICS_PER_BATCH):
            self.client.log_batch(self.run_id, metrics=metrics[start : start + METRICS_PER_BATCH], synchronous=True)

    def _log_file(self, path: Path) -> None:
        try:
            self.client.log_artifact(self.run_id, str(path))
        except OSError as error:
            if error.errno and error.filename is None:  # a full disk shows in write(), which knows no name
                error.filename = self.read().info.artifact_uri
            raise

    def _files(self, run: entities.Run) -> set[str]:
        return {file.path for file in self.client.list_artifacts(run.info.run_id) if not file.is_dir}

    def _new_model(
        self, model: bytes, files: Mapping[str, bytes], tags: Mapping[str, str], run: entities.Run
    ) -> LoggedModel:
        logged = self.client.create_logged_model(
            self.experiment_id, name="model", source_run_id=self.run_id, tags=dict(tags), params=run.data.params
        )
        with temporary_folder(self.holder) as folder:
            save_onnx_model(onnx.load_from_string(model), folder / "model", logged)
            for name, content in files.items():
                write_bytes(folder / "model" / name, content)
            self.client.log_model_artifacts(logged.model_id, str(folder / "model"))
        measured = [
            Metric(each.key, each.value, each.timestamp, each.step, model_id=logged.model_id, run_id=self.run_id)
            for name in run.data.metrics
            if name.startswith(OF_THE_MODEL)
            for each in self.client.get_metric_history(self.run_id, name)
        ]
        self._log_batches(measured)
        return self.client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)

    def _copy_what_is_missing(self, earlier: entities.Run) -> None:
        run, earlier = self.read(), self.client.get_run(earlier.info.run_id)  # a search does not tell the inputs
        self._log_flat(_of_the_model(earlier.data.metrics, run.data.metrics))
        self.set_tags(_of_the_model(earlier.data.tags, run.data.tags))
        if earlier.inputs and earlier.inputs.dataset_inputs:
            self.client.log_inputs(self.run_id, datasets=earlier.inputs.dataset_inputs)
        if models := _model_outputs(earlier):
            self.client.log_outputs(self.run_id, models)
        with temporary_folder(self.holder) as folder:
            for name in self._files(earlier) - self._files(run):
                self._log_file(Path(self.client.download_artifacts(earlier.info.run_id, name, str(folder))))


def _sha256(files: Mapping[str, bytes]) -> str:
    """Of names and contents, in any order."""
    hashes = [f"{name} {sha256_of_bytes(content)}" for name, content in sorted(files.items())]
    return sha256_of_bytes("\n".join(hashes).encode())


def find_run(client: MlflowClient, experiment_id: str, tag: str, value: str) -> entities.Run | None:
    """The newest run with this tag."""
    runs = client.search_runs(
        [experiment_id],
        filter_string=f"tags.{tag} = '{value}'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    return runs[0] if runs else None


def holders_of(run: entities.Run) -> set[str]:
    """The names of the processes that hold a run, as it was read."""
    return {tag.removeprefix(HOLDER_TAG) for tag in run.data.tags if tag.startswith(HOLDER_TAG)}


def _model_outputs(run: entities.Run) -> list[LoggedModelOutput]:
    return run.outputs.model_outputs if run.outputs else []


def _of_the_model(known: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in known.items() if name.startswith(OF_THE_MODEL) and name not in there}


def _flat(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Lists are tables, which no metric can hold."""
    for name, value in zip(_as_keys(metrics), metrics.values(), strict=True):
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        elif not isinstance(value, list):
            yield f"{prefix}{name}", float(value)


def _as_keys(names: Iterable[str]) -> list[str]:
    """Names as MLflow takes them, whatever classes are called: of other signs, and none twice, in any case."""
    keys: dict[str, str] = {}
    for name in names:
        key = NOT_OF_A_KEY.sub("_", name)
        while key.casefold() in keys:
            key += "_"
        keys[key.casefold()] = key
    return list(keys.values())


def _milliseconds() -> int:
    return int(time.time() * 1000)
