"""The stage scripts by themselves, without DVC."""

import mlflow

from lifline.files import MODEL, sha256_of
from tests.conftest import save_untrained


def test_each_stage_leaves_its_outputs_and_no_temporary_file(workspace, stage):
    for name in ("train", "evaluate", "export"):
        assert stage(name) == (0, "")
    assert {path.name for path in (workspace / "models").iterdir()} == {"model.safetensors", "model.onnx"}
    assert not [path for path in workspace.rglob(".*") if path.name.endswith((".tmp", ".partial"))]


def test_a_model_without_a_run_gets_one(workspace, stage):
    """As in a fresh clone, whose model came from a DVC remote."""
    save_untrained()
    assert stage("evaluate")[0] == 0
    client = mlflow.MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("lifline").experiment_id])
    assert run.data.tags["model_sha256"] == sha256_of(MODEL)
    assert run.data.params["network.hidden"] == "20"
    assert run.data.metrics["test/total"] == 10_000


def test_export_completes_the_run_where_dvc_skips_evaluate(workspace, stage, monkeypatch):
    """As in a fresh clone: git brings the reports, the model is trained anew."""
    assert stage("train")[0] == 0
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace / 'elsewhere.db'}")
    assert stage("evaluate")[0] == 0
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert stage("export")[0] == 0
    client = mlflow.MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("lifline").experiment_id])
    assert run.data.metrics["test/total"] == 10_000
    assert run.data.metrics["train/accuracy"] > 0
    assert {entry.dataset.name for entry in run.inputs.dataset_inputs} == {"mnist-train", "mnist-test"}
    assert stage("export")[0] == 0
    assert len(client.get_metric_history(run.info.run_id, "test/accuracy")) == 1
