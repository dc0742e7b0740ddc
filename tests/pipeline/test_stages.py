"""The stage scripts by themselves, without DVC."""

from pathlib import Path

import mlflow
import numpy as np

from lifline.data.batches import as_input
from lifline.data.datasets import load_dataset, save_dataset
from lifline.models.model import load_model
from lifline.paths import DATA, GATE, MODEL, MODEL_CARD
from lifline.presets import change_params
from lifline.provenance import recorded_source
from lifline.snn.decoding import decode
from lifline.system.files import sha256_of
from lifline.tracking.dataset import sha256_of_test_images
from tests.conftest import save_untrained
from tests.tracking.runs import artifacts


def test_a_download_is_remembered_by_who_served_it(workspace, stage):
    np.savez(workspace / "data/own.npz", x_train=np.zeros((60, 5, 7), np.uint8), y_train=np.arange(60) % 3)
    change_params({"data.dataset": "own.npz", "data.validation_size": 10})
    assert stage("download") == (0, "")
    dataset = load_dataset(DATA)
    assert dataset.info.shape == (1, 5, 7)
    assert recorded_source(dataset.sha256) == "own.npz"
    assert recorded_source("another") == "unknown"


def test_a_model_without_a_run_gets_one(workspace, stage):
    """As in a fresh clone, whose model came from a DVC remote."""
    save_untrained()
    assert stage("evaluate")[0] == 0
    client = mlflow.MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("lifline").experiment_id])
    assert run.data.tags["model_sha256"] == sha256_of(MODEL)
    assert run.data.params["network.layers"] == "20"
    assert run.data.tags["test/total"] == "500"


def test_a_training_again_leaves_a_whole_run(store, workspace, stage):
    """DVC skips evaluate where the model has not changed, or git brings its reports; export logs them."""
    for name in ("train", "evaluate", "export", "train", "export"):
        assert stage(name) == (0, "")
    assert {path.name for path in (workspace / "models").iterdir()} == {
        "model.safetensors",
        "model.onnx",
        "model_card.md",
        "formats",
    }
    assert not [path for path in workspace.rglob(".*") if path.name.endswith((".tmp", ".partial"))]
    runs = store.search_runs([store.get_experiment_by_name("lifline").experiment_id])
    new, old = (store.get_run(run.info.run_id) for run in runs)
    assert metric_names(new) == metric_names(old)
    assert {"train/accuracy", "test/accuracy", "export/onnx/class_mismatches"} <= metric_names(new) | set(new.data.tags)
    assert artifacts(store, new) == artifacts(store, old)
    assert {"raster.png", "firing_rates.csv"} <= artifacts(store, new)
    for run in (new, old):
        assert sorted(entry.dataset.name for entry in run.inputs.dataset_inputs) == ["mnist-test", "mnist-train"]
        assert len(store.get_metric_history(run.info.run_id, "test/accuracy")) == 1
    (output,) = new.outputs.model_outputs
    assert [output] == old.outputs.model_outputs
    mlflow.set_tracking_uri(f"sqlite:///{workspace / 'mlflow.db'}")
    model = mlflow.pyfunc.load_model(f"models:/{output.model_id}")
    assert model.metadata.signature is not None


def metric_names(run):
    return {name for name in run.data.metrics if not name.startswith("system/")}  # a short training has none of these


def test_what_is_held_out_for_the_champion_is_not_learned_from_and_decided_on(store, workspace, stage):
    change_params({"data.gate_size": 100})  # of 1,500 images, of which the last 500 are for validation
    for name in ("train", "evaluate", "export"):
        assert stage(name) == (0, "")
    dataset, model = load_dataset(DATA), load_model(MODEL)
    images, labels = dataset.train.images[900:1000], dataset.train.labels[900:1000]
    decided = decode(model.network(as_input(images)), model.params.decoding)
    rows = [f"{label},{predicted}" for label, predicted in zip(labels.tolist(), decided.tolist(), strict=True)]
    assert GATE.read_text().splitlines() == ["actual,predicted", *rows]
    (run,) = store.search_runs([store.get_experiment_by_name("lifline").experiment_id])
    assert "gate.csv" in artifacts(store, run)
    tags = store.get_model_version("lifline", "1").tags
    assert tags["gate_size"] == "100"
    assert (tags["data_sha256"], tags["test_sha256"]) == (dataset.sha256, sha256_of_test_images(dataset))
    files = mlflow.artifacts.download_artifacts("models:/lifline/1", tracking_uri=f"sqlite:///{workspace}/mlflow.db")
    assert Path(files, "gate.csv").read_bytes() == GATE.read_bytes()
    assert (
        "the last 500 are for validation, the 100 before them for the choice of the champion" in MODEL_CARD.read_text()
    )

    trained = MODEL.read_bytes()
    DATA.unlink()
    dataset.train.images[900:1000] = 255 - images
    save_dataset(dataset.info, dataset.train, dataset.test, DATA)
    assert stage("train") == (0, "")
    assert MODEL.read_bytes() == trained


def test_where_nothing_is_held_out_for_the_champion_no_run_has_a_table_of_it(store, workspace, stage):
    save_untrained()
    assert stage("evaluate") == (0, "")
    assert GATE.read_text() == "actual,predicted\n"
    (run,) = store.search_runs([store.get_experiment_by_name("lifline").experiment_id])
    assert "predictions.csv" in artifacts(store, run)
    assert "gate.csv" not in artifacts(store, run)
