"""What a run of MLflow says of itself, in Markdown; its links lead to pages of MLflow's UI."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from mlflow import MlflowClient, entities
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from lifline.layers import describe_network
from lifline.tracking.tags import DATA_CLASSES_TAG, DATA_SHAPE_TAG, MODEL_TAG, RECIPE_TAG, WARNINGS_TAG

ENERGY = "energy_with_memory_nanojoules_per_image"
ENERGY_OF_ORDINARY = "energy_of_quantised_network_nanojoules_per_image"
ZEROS_SKIPPED = (
    "energy_with_zeros_skipped_nanojoules_per_image",
    "energy_of_quantised_network_with_zeros_skipped_nanojoules_per_image",
)
"""Tags."""

OPERATIONS = "synaptic_operations_per_image"

MAX_CHILDREN = 10
"""In a run's description."""


class Described(NamedTuple):
    """A run, as far as its description speaks of it."""

    experiment_id: str
    run_id: str
    name: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]

    def link(self) -> str:
        """The run by its name."""
        return f"[{self.name}](#/experiments/{self.experiment_id}/runs/{self.run_id})"


def describe(client: MlflowClient, run: entities.Run) -> str:
    """The description of a run, with what the store knows of its parent, its children and its model."""
    run_id, tags = run.info.run_id, run.data.tags
    parent_id, model_sha256 = tags.get(MLFLOW_PARENT_RUN_ID), tags.get(MODEL_TAG)
    versions = client.search_model_versions(f"tags.{MODEL_TAG} = '{model_sha256}'") if model_sha256 else []
    children = client.search_runs(
        [run.info.experiment_id],
        f"tags.{MLFLOW_PARENT_RUN_ID} = '{run_id}' and attributes.status = 'FINISHED'",
        order_by=["metrics.`validation/accuracy` DESC"],
        max_results=MAX_CHILDREN + 1,
    )
    return describe_run(
        _described(run),
        _described(client.get_run(parent_id)) if parent_id else None,
        [_described(child) for child in children[:MAX_CHILDREN]],
        len(children) > MAX_CHILDREN,
        (versions[0].name, versions[0].version) if versions else None,
        is_trained_here=not model_sha256 or any(name.startswith("train/") for name in run.data.metrics),
    )


def _described(run: entities.Run) -> Described:
    info = run.info
    return Described(info.experiment_id, info.run_id, info.run_name, run.data.params, run.data.metrics, run.data.tags)


def describe_run(
    run: Described,
    parent: Described | None = None,
    children: Sequence[Described] = (),
    has_more_children: bool = False,
    model: tuple[str, str] | None = None,
    is_trained_here: bool = True,
) -> str:
    """A description.

    Args:
        run: what is described.
        parent: the run of a study or of several seeds to which it belongs.
        children: runs that belong to it, best first.
        has_more_children: whether these are only some of them.
        model: name and version of the registered model that came of it.
        is_trained_here: whether the store has metrics of its training.
    """
    network = f"{_layers(run)}, {run.params.get('network.num_steps')} steps"
    results = ", ".join(_results(run.metrics))
    parts = [f"{results}."] if results else []
    parts += _energy_with_zeros_skipped(run.tags)
    parts.append(f"Recipe {run.tags.get(RECIPE_TAG)}: {network}, seed {run.params.get('train.seed')}.")
    parts += [f"Warning: {warning}." for warning in run.tags.get(WARNINGS_TAG, "").splitlines()]
    if children:
        if has_more_children:
            parts.append(f"The best {len(children)} by validation accuracy:")
        parts.append("| run | validation accuracy | test accuracy |\n| --- | ---: | ---: |\n" + _rows(children))
    if parent:
        parts.append(f"Part of {parent.link()}.")
    if not is_trained_here:
        parts.append("Not trained here: the model came with a clone or from DVC's cache, without metrics of training.")
    if model:
        parts.append("Registered: [{0}, version {1}](#/models/{0}/versions/{1}).".format(*model))
    return "\n\n".join(parts)


def _layers(run: Described) -> str:
    """The hidden ones alone, where the run read no data."""
    layers = run.params.get("network.layers", "")
    if not layers or DATA_SHAPE_TAG not in run.tags:
        return layers or run.params.get("network.hidden", "")  # of a run of an earlier version
    shape = [int(side) for side in run.tags[DATA_SHAPE_TAG].split("x")]
    return describe_network(layers, shape, int(run.tags[DATA_CLASSES_TAG]))


def _results(metrics: Mapping[str, float]) -> Iterator[str]:
    for part in ("test", "validation"):
        if f"{part}/accuracy" in metrics:
            yield f"{part} accuracy **{metrics[f'{part}/accuracy']:.2%}**"
        if f"{part}/accuracy_median" in metrics:
            median, low, high = (metrics[f"{part}/accuracy_{figure}"] for figure in ("median", "min", "max"))
            yield f"{part} accuracy **{median:.2%}** (median; {low:.2%} to {high:.2%})"
        if f"{part}/{ENERGY}" in metrics:
            energy, ordinary, operations = (
                metrics[f"{part}/{name}"] for name in (ENERGY, ENERGY_OF_ORDINARY, OPERATIONS)
            )
            yield f"{energy:,.0f} nJ per image with memory (an estimate; a quantised ordinary network {ordinary:,.0f})"
            yield f"{operations:,.0f} synaptic operations"


def _energy_with_zeros_skipped(tags: Mapping[str, str]) -> Iterator[str]:
    for part in ("test", "validation"):
        told = [tags.get(f"{part}/{name}", "") for name in ZEROS_SKIPPED]
        if all(map(str.isdecimal, told)):  # people can edit tags
            own, ordinary = map(int, told)
            yield f"Where both skip zeros, the network takes {own:,} nJ, the ordinary one {ordinary:,}."


def _rows(runs: Sequence[Described]) -> str:
    rows = []
    for run in runs:
        accuracies = (run.metrics.get(f"{part}/accuracy") for part in ("validation", "test"))
        rows.append(" | ".join(["" if value is None else f"{value:.2%}" for value in accuracies]))
    return "\n".join(f"| {run.link()} | {row} |" for run, row in zip(runs, rows, strict=True))
