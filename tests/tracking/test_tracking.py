import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import mlflow
import pytest
from mlflow.telemetry.utils import is_telemetry_disabled

from lifline.data.datasets import MNIST
from lifline.errors import TrackingError
from lifline.system.signals import STOPPING, interrupt_on_signals
from lifline.tracking import runs as tracking
from lifline.training.fit import EpochReport
from tests.conftest import ROOT, assert_one_line_error, stage_process
from tests.tracking.runs import all_runs, artifacts, endless, measured, running, tiny_onnx, wait_for

HASH = "ab" * 32


def epoch_report(**values):
    return EpochReport(
        **{
            "epoch": 1,
            "iteration": 3,
            "losses": [3.0, 2.0, 1.0],
            "train_accuracy": 0.5,
            "validation_loss": 1.5,
            "validation_accuracy": 0.6,
            "images_per_second": 1000.0,
            "seconds": 2.0,
            "steps_per_loss": 4,
            **values,
        }
    )


def test_a_model_has_one_run_that_all_stages_write_to(store, params, workspace):
    with tracking.training_run(params, "cpu") as run:
        run.log_dataset("mnist-train", "training")
        run.log_epoch(epoch_report())
        run.log_epoch(epoch_report(epoch=2, iteration=6, losses=[0.9, 0.8, 0.7]))
        run.tag_model(HASH)
    with tracking.run_of_model(HASH, params) as run:
        run.log_metrics({"test": {"accuracy": 0.9, "firing_rate": {"hidden_1": 0.1}}})
    (run,) = all_runs(store)
    assert run.info.status == "FINISHED"
    assert run.data.params == {name: str(value) for name, value in params.flat().items()}
    assert run.data.metrics["test/accuracy"] == 0.9
    assert run.data.metrics["test/firing_rate/hidden_1"] == 0.1
    assert run.data.metrics["validation/loss_per_step"] == 1.5 / 4
    assert run.data.metrics["speed/images_per_second"] == 1000
    history = store.get_metric_history(run.info.run_id, "train/iteration_loss")
    assert [(metric.step, metric.value) for metric in history] == list(enumerate([3, 2, 1, 0.9, 0.8, 0.7], start=1))
    assert run.data.tags["data_sha256"] == MNIST.sha256
    assert run.data.tags["device"] == "cpu"
    (dataset,) = run.inputs.dataset_inputs
    assert MNIST.sha256.startswith(dataset.dataset.digest)
    assert "params.yaml" in [file.path for file in store.list_artifacts(run.info.run_id)]
    assert (workspace / "mlartifacts").is_dir()


def test_a_long_epoch_is_logged_whole(store, params):
    with tracking.training_run(params, "cpu") as run:
        run.log_epoch(epoch_report(iteration=2500, losses=[1.0] * 2500))
    (run,) = all_runs(store)
    assert len(store.get_metric_history(run.info.run_id, "train/iteration_loss")) == 2500


def test_a_model_that_the_store_does_not_know_gets_a_run_of_its_own(store, params):
    with tracking.run_of_model(HASH, params):
        pass
    with tracking.run_of_model("cd" * 32, params):
        pass
    with tracking.run_of_model(HASH, params):
        pass
    assert [run.data.tags["model_sha256"] for run in all_runs(store)] == [HASH, "cd" * 32]
    assert all(run.data.params["network.beta"] == "0.95" for run in all_runs(store))


def test_of_two_runs_with_one_model_the_newer_is_taken(store, params):
    for _ in range(2):
        with tracking.training_run(params, "cpu") as run:
            run.tag_model(HASH)
    with tracking.run_of_model(HASH, params) as run:
        run.log_metrics({"test": {"accuracy": 0.9}})
    old, new = all_runs(store)
    assert "test/accuracy" not in old.data.metrics
    assert "test/accuracy" in new.data.metrics


def test_a_training_that_makes_the_same_model_again_has_all_that_the_first_has(store, params, workspace):
    """DVC skips evaluate and export then."""
    report = workspace / "evaluation.json"
    report.write_text("{}")
    with tracking.training_run(params, "cpu") as run:
        run.log_metrics({"validation": {"accuracy": 0.7}})
        run.tag_model(HASH)
    with tracking.run_of_model(HASH, params) as run:
        run.log_dataset("mnist-test", "test")
        run.log_metrics({"test": {"accuracy": 0.9}})
        run.log_files(report)
        run.log_onnx(tiny_onnx())
    (workspace / "params.yaml").write_text("# another\n")
    with tracking.training_run(params, "cpu") as run:
        run.log_metrics({"validation": {"accuracy": 0.8}})
        run.tag_model(HASH)
    old, new = (store.get_run(run.info.run_id) for run in all_runs(store))
    assert measured(new) == {"test/accuracy": 0.9, "validation/accuracy": 0.8}
    assert new.data.tags["repeats_run"] == old.info.run_id
    assert artifacts(store, new) == artifacts(store, old) == {"params.yaml", "evaluation.json"}
    assert Path(store.download_artifacts(new.info.run_id, "params.yaml")).read_text() == "# another\n"
    assert [entry.dataset.name for entry in new.inputs.dataset_inputs] == ["mnist-test"]
    assert new.outputs.model_outputs == old.outputs.model_outputs
    assert len(new.outputs.model_outputs) == 1


def test_an_onnx_model_is_logged_once_unless_it_was_deleted(store, params):
    for brightness in (1, 1, 2):
        with tracking.run_of_model(HASH, params) as run:
            run.log_onnx(tiny_onnx(brightness))
    (run,) = all_runs(store)
    logged = [output.model_id for output in store.get_run(run.info.run_id).outputs.model_outputs]
    assert len(logged) == 2
    for model_id in logged:
        store.delete_logged_model(model_id)
    with tracking.run_of_model(HASH, params) as run:
        run.log_onnx(tiny_onnx())
    assert len(store.search_logged_models([run.experiment_id])) == 1


def test_what_a_run_has_is_not_logged_again(store, params, workspace):
    one, two = workspace / "one.json", workspace / "two.json"
    one.write_text("first")
    two.write_text("first")
    with tracking.run_of_model(HASH, params) as run:
        run.log_metrics({"test": {"accuracy": 0.9}})
        run.log_files(one)
    one.write_text("second")
    with tracking.run_of_model(HASH, params) as run:
        run.log_missing({"test": {"accuracy": 0.8, "correct": 9}}, one, two)
    (run,) = all_runs(store)
    assert run.data.metrics == {"test/accuracy": 0.9, "test/correct": 9}
    assert len(store.get_metric_history(run.info.run_id, "test/accuracy")) == 1
    assert {"one.json", "two.json"} < artifacts(store, run)
    assert Path(store.download_artifacts(run.info.run_id, "one.json")).read_text() == "first"


@pytest.mark.parametrize(
    ("error", "status"),
    [(RuntimeError("no luck"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(1), "FAILED")],
)
def test_a_run_that_ends_early_says_how(store, params, error, status):
    with pytest.raises(type(error)), tracking.training_run(params, "cpu") as run:  # noqa: PT012 - all in a run
        run.log_metrics({"validation": {"accuracy": 0.8}})
        raise error
    (run,) = all_runs(store)
    assert run.info.status == status
    assert "validation accuracy **80.00%**" in run.data.tags["mlflow.note.content"]
    assert run.data.tags["failure"].startswith(type(error).__name__)


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_waits_while_a_run_is_closed(store, params, monkeypatch, number):
    interrupt_on_signals()
    with pytest.raises(KeyboardInterrupt), tracking.training_run(params, "cpu"):  # noqa: PT012 - all in a run
        for method in ("set_tag", "set_terminated"):
            monkeypatch.setattr(mlflow.MlflowClient, method, signalling(number, getattr(mlflow.MlflowClient, method)))
        raise RuntimeError("no luck")
    (run,) = all_runs(store)
    assert run.info.status == "FAILED"
    assert run.data.tags["failure"] == "RuntimeError: no luck"


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_waits_while_a_run_is_opened(store, params, monkeypatch, number):
    interrupt_on_signals()
    monkeypatch.setattr(mlflow.MlflowClient, "create_run", signalling(number, mlflow.MlflowClient.create_run))
    with pytest.raises(KeyboardInterrupt), tracking.training_run(params, "cpu"):
        pass
    (run,) = all_runs(store)
    assert run.info.status == "KILLED"


def test_a_run_is_closed_even_if_its_failure_cannot_be_tagged(store, params, monkeypatch):
    def refuse(*arguments, **named):
        raise mlflow.MlflowException("no more tags")

    with pytest.raises(RuntimeError), tracking.training_run(params, "cpu"):  # noqa: PT012 - all in a run
        monkeypatch.setattr(mlflow.MlflowClient, "set_tag", refuse)
        raise RuntimeError("no luck")
    (run,) = all_runs(store)
    assert run.info.status == "FAILED"


def test_a_run_that_cannot_be_closed_is_closed_by_the_next(store, params, monkeypatch):
    def refuse(*arguments, **named):
        raise mlflow.MlflowException("the store is gone")

    with monkeypatch.context() as broken:
        broken.setattr(mlflow.MlflowClient, "set_terminated", refuse)
        with pytest.raises(TrackingError, match="the store is gone"), tracking.training_run(params, "cpu"):
            pass
    with tracking.training_run(params, "cpu"):
        pass
    assert [run.info.status for run in all_runs(store)] == ["KILLED", "FINISHED"]


def test_a_run_that_its_process_never_closes_is_closed_by_the_next(store, params, workspace):
    program = (
        "import os; from lifline.tracking import runs as tracking; from lifline.params import read_params\n"
        "run = tracking.training_run(read_params(), 'cpu'); run.__enter__(); os._exit(0)"
    )
    assert run_python(program).returncode == 0
    assert [run.info.status for run in all_runs(store)] == ["RUNNING"]
    with tracking.run_of_model(HASH, params):
        pass
    assert [run.info.status for run in all_runs(store)] == ["KILLED", "FINISHED"]


def test_dvc_and_git_are_tagged_as_they_were_when_the_run_was_made(store, params, workspace, monkeypatch):
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "params.yaml", "dvc.yaml"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message", "start"], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    monkeypatch.setenv("DVC_EXP_NAME", "calm-heron")
    monkeypatch.setenv("DVC_STAGE", "train")
    with tracking.training_run(params, "cpu") as run:
        run.tag_model(HASH)
    (workspace / "params.yaml").write_text("# changed\n")
    subprocess.run([*git, "commit", "--quiet", "--all", "--message", "later"], check=True)
    (workspace / "params.yaml").write_text("# changed again\n")
    monkeypatch.setenv("DVC_EXP_NAME", "another")
    for stage in ("evaluate", "evaluate", "export"):
        monkeypatch.setenv("DVC_STAGE", stage)
        with tracking.run_of_model(HASH, params):
            pass
    (run,) = all_runs(store)
    assert run.data.tags["git_commit"] == commit
    assert run.data.tags["git_dirty"] == "false"
    assert run.data.tags["dvc_exp_name"] == "calm-heron"
    assert run.info.run_name == "calm-heron (tutorial)"
    assert run.data.tags["dvc_stage"] == "train evaluate export"
    with tracking.run_of_model("cd" * 32, params):
        pass
    assert all_runs(store)[-1].data.tags["git_dirty"] == "true"


def test_a_success_clears_an_earlier_failure(store, params):
    with pytest.raises(RuntimeError), tracking.run_of_model(HASH, params):
        raise RuntimeError
    with tracking.run_of_model(HASH, params):
        pass
    (run,) = all_runs(store)
    assert run.info.status == "FINISHED"
    assert "failure" not in run.data.tags


def test_the_run_of_a_killed_process_is_closed_by_the_next_and_no_other(store, params, workspace, monkeypatch):
    endless(workspace)
    training = stage_process("train", workspace)
    wait_for(lambda: running(store), training)
    (started,) = running(store)
    with tracking.training_run(params, "cpu"):
        pass
    assert store.get_run(started.info.run_id).info.status == "RUNNING"  # its process lives

    os.killpg(training.pid, signal.SIGKILL)
    training.communicate()
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace / 'mlflow.db'}")
        elsewhere.setenv("DVC_ROOT", str(workspace / "models"))
        (workspace / "models").mkdir()
        with tracking.training_run(params, "cpu"):
            pass
    assert store.get_run(started.info.run_id).info.status == "RUNNING"  # another repository cannot know

    with tracking.training_run(params, "cpu"):
        pass
    killed = store.get_run(started.info.run_id)
    assert killed.info.status == "KILLED"
    assert killed.data.tags["failure"] == "its process died"
    assert list((workspace / ".running").iterdir()) == []


def test_an_interrupted_training_is_killed_and_writes_nothing(store, workspace):
    endless(workspace)
    training = stage_process("train", workspace)
    wait_for(lambda: running(store) and running(store)[0].data.metrics, training)
    while training.poll() is None:  # an impatient user
        for number in STOPPING:
            training.send_signal(number)
        time.sleep(0.05)
    assert training.returncode in (130, *(-number for number in STOPPING))  # the last may meet Python's own end
    assert training.communicate()[1] == "error: interrupted\n"
    assert [run.info.status for run in all_runs(store)] == ["KILLED"]
    assert not list((workspace / "models").glob("*") if (workspace / "models").exists() else [])
    assert list((workspace / ".running").iterdir()) == []


def test_many_may_start_at_once_in_a_new_repository(workspace):
    program = (
        "from lifline.tracking import runs as tracking; from lifline.params import read_params\n"
        "with tracking.training_run(read_params(), 'cpu'): pass"
    )
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(run_python, [program] * 3))
    assert [(process.returncode, process.stderr) for process in done] == [(0, "")] * 3
    assert len(all_runs(mlflow.MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}"))) == 3


def test_an_experiment_that_another_process_just_made_is_taken(store, params, monkeypatch):
    with tracking.training_run(params, "cpu"):
        pass
    there = store.get_experiment_by_name("lifline")
    with monkeypatch.context() as racing:
        racing.setattr(mlflow.MlflowClient, "get_experiment_by_name", Mock(side_effect=[None, there]))
        with tracking.training_run(params, "cpu"):
            pass
    assert len(all_runs(store)) == 2


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("http://lifline:secret@127.0.0.1:1", ["MLflow at http://lifline:***@127.0.0.1:1", "Connection refused"]),
        ("sqlite:////no/such/folder/mlflow.db", ["MLflow at sqlite:////no/such/folder/mlflow.db", "unable to open"]),
        ("postgresql://lifline:secret@127.0.0.1:1/mlflow", ["MLflow at postgresql://lifline:***@127.0.0.1:1/mlflow"]),
        ("sqlite:////tmp/mlflow.db?timeout=soon", ["MLflow at sqlite:////tmp/mlflow.db?*** does not work", "convert"]),
        ("http://lifline:secret@[bad", ["MLFLOW_TRACKING_URI is 'http://lifline:***@[bad'; allowed is http(s)://HOST"]),
        ("mlruns", ["MLFLOW_TRACKING_URI is 'mlruns'; allowed is http(s)://HOST"]),
    ],
)
def test_a_store_that_cannot_be_stops_before_training(stage, workspace, monkeypatch, uri, parts):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    started = time.monotonic()
    outcome = stage("train")
    assert_one_line_error(outcome, *parts)
    assert "secret" not in outcome[1]
    assert not (workspace / "models").exists()
    assert time.monotonic() - started < 30


def test_a_deleted_experiment_is_named(store, params, workspace):
    with tracking.training_run(params, "cpu"):
        pass
    store.delete_experiment(store.get_experiment_by_name("lifline").experiment_id)
    with pytest.raises(TrackingError, match="has no active experiment lifline"), tracking.training_run(params, "cpu"):
        pass


def test_telemetry_is_off():
    assert is_telemetry_disabled()


def run_python(program):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)


def signalling(number, function):
    """The function, during which this process gets a signal."""

    def signalled(*arguments, **named):
        os.kill(os.getpid(), number)
        result = function(*arguments, **named)
        os.kill(os.getpid(), number)
        return result

    return signalled


def test_a_change_that_git_believes_is_none_is_one(store, params, workspace):
    """As `dvc exp run -S` leaves it: the index has the changed file's time and size, and the old content."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "core.trustctime=false"]
    for command in (["init", "--quiet"], ["config", "core.trustctime", "false"], ["add", "params.yaml", "dvc.yaml"]):
        subprocess.run([*git, *command], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message", "start"], check=True)
    path = workspace / "params.yaml"
    os.utime(path, (1e9, 1e9))
    subprocess.run([*git, "status"], check=True, capture_output=True)  # takes note of the time
    path.write_text(path.read_text().replace("0.95", "0.77"))
    os.utime(path, (1e9, 1e9))
    seen = subprocess.run([*git, "status", "--porcelain", "-uno"], check=True, capture_output=True, text=True).stdout
    assert seen == ""
    with tracking.run_of_model(HASH, params):
        pass
    assert all_runs(store)[0].data.tags["git_dirty"] == "true"
