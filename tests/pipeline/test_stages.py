"""The stage scripts by themselves, without DVC."""

import mlflow
import numpy as np

from lifline.data.datasets import load_dataset
from lifline.paths import DATA, MODEL
from lifline.presets import change_params
from lifline.provenance import recorded_source
from lifline.system.files import sha256_of
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
