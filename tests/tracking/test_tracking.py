import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from pathlib import Path
from unittest.mock import Mock

import mlflow
import numpy as np
import pytest
from mlflow.entities import LoggedModelStatus
from mlflow.telemetry.utils import is_telemetry_disabled

from lifline.data.datasets import load_dataset
from lifline.data.images import LabelledImages
from lifline.errors import TrackingError
from lifline.paths import DATA
from lifline.provenance import record_source
from lifline.system.locks import locked
from lifline.system.signals import STOPPING, interrupt_on_signals
from lifline.tracking import runs as tracking
from lifline.tracking.dataset import sha256_of_test_images
from lifline.training.fit import EpochReport
from tests.conftest import HEALTHY, ROOT, assert_one_line_error, first, stage_process
from tests.git import change_unseen_by_git, git
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
            "betas": [],
            "health": HEALTHY,
            **values,
        }
    )


def test_test_images_are_known_again_whatever_is_learned_from(mnist):
    known = sha256_of_test_images(mnist)
    images, labels = mnist.test
    assert sha256_of_test_images(mnist._replace(train=first(mnist.train, 9), sha256="")) == known
    named = mnist.info.model_copy(update={"class_names": tuple("abcdefghij")})
    others = [
        mnist._replace(test=LabelledImages(images.flip(0), labels)),
        mnist._replace(test=LabelledImages(images, labels.flip(0))),
        mnist._replace(test=first(mnist.test, 9_999)),
        mnist._replace(info=named),
    ]
    assert len({known, *map(sha256_of_test_images, others)}) == 5


def test_a_model_has_one_run_that_all_stages_write_to(store, params, workspace):
    with tracking.training_run(params, "cpu") as run:
        run.log_dataset(load_dataset(DATA), "train")
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
    assert run.data.tags["data_sha256"] == load_dataset(DATA).sha256
    assert run.data.tags["test_sha256"] == sha256_of_test_images(load_dataset(DATA))
    assert run.data.tags["device"] == "cpu"
    (dataset,) = run.inputs.dataset_inputs
    assert load_dataset(DATA).sha256.startswith(dataset.dataset.digest)
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
        run.log_dataset(load_dataset(DATA), "test")
        run.log_metrics({"test": {"accuracy": 0.9}})
        run.log_files(report)
        run.log_onnx(tiny_onnx().SerializeToString())
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
            run.log_onnx(tiny_onnx(brightness).SerializeToString())
    (run,) = all_runs(store)
    logged = [output.model_id for output in store.get_run(run.info.run_id).outputs.model_outputs]
    assert len(logged) == 2
    with tracking.run_of_model(HASH, params) as run:
        assert (
            run.log_onnx(tiny_onnx().SerializeToString(), {"a/b.c": b"1"}) not in logged
        )  # the same in one format more
    for model_id in logged:
        store.delete_logged_model(model_id)
    with tracking.run_of_model(HASH, params) as run:
        run.log_onnx(tiny_onnx().SerializeToString())
    assert len(store.search_logged_models([run.experiment_id])) == 2


def test_other_formats_are_kept_beside_a_logged_model(store, params):
    one, same, other = ({"formats/model.nir": b"1", "formats/integer/network.c": code} for code in (b"2", b"2", b"3"))
    with tracking.run_of_model(HASH, params) as run:
        model_id = run.log_onnx(tiny_onnx().SerializeToString(), one)
        assert run.log_onnx(tiny_onnx().SerializeToString(), dict(reversed(same.items()))) == model_id
        assert run.log_onnx(tiny_onnx().SerializeToString(), other) != model_id
    for name, content in one.items():
        folder = store.get_logged_model(model_id).artifact_location
        kept = mlflow.artifacts.download_artifacts(f"{folder}/{name}")
        assert Path(kept).read_bytes() == content


def test_an_export_that_was_cut_short_is_in_nobodys_way(store, params, monkeypatch):
    for point in ("log_model_artifacts", "finalize_logged_model", "log_outputs"):
        with monkeypatch.context() as interrupted:
            interrupted.setattr(mlflow.MlflowClient, point, Mock(side_effect=KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt), tracking.run_of_model(HASH, params) as run:
                run.log_onnx(tiny_onnx().SerializeToString())
    with tracking.run_of_model(HASH, params) as run:
        model_id = run.log_onnx(tiny_onnx().SerializeToString())
    (logged,) = store.search_logged_models([run.experiment_id])
    assert (logged.model_id, logged.status) == (model_id, LoggedModelStatus.READY)
    assert [output.model_id for output in store.get_run(run.run_id).outputs.model_outputs] == [model_id]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_logged_model_predicts_on_what_numpy_makes_too(store, params, dtype):
    with tracking.run_of_model(HASH, params) as run:
        model_id = run.log_onnx(tiny_onnx().SerializeToString())
    images = np.random.default_rng(0).random((2, 1, 28, 28)).astype(dtype)
    mlflow.set_tracking_uri(store.tracking_uri)
    for uri in (f"models:/{model_id}", f"runs:/{run.run_id}/model"):
        model = mlflow.pyfunc.load_model(uri)
        assert model.predict({"image": images})["class"].tolist() == images.reshape(2, -1).argmax(1).tolist()
        assert [output.name for output in model.metadata.signature.outputs] == ["spikes", "membrane", "class"]
        assert model.metadata.metadata == {"input": "image: float32 or float64 (-1, 1, 28, 28), 0 to 1"}
        assert model.input_example["image"].shape == (1, 1, 28, 28)


def test_a_run_has_its_accuracy_first_and_what_is_counted_as_tags(store, params, monkeypatch):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.01")
    with tracking.training_run(params, "cpu") as run:
        time.sleep(0.1)  # in which the machine is sampled
        run.log_epoch(epoch_report())
        run.log_metrics({"test": {"loss": 0.1, "total": 10_000, "accuracy": 0.9}, "validation": {"total": 10_000}})
    (found,) = all_runs(store)  # as the UI reads it
    assert next(iter(found.data.metrics)) == "validation/accuracy"
    assert next(name for name in found.data.metrics if name.startswith("test/")) == "test/accuracy"
    assert "system/cpu_utilization_percentage" in found.data.metrics
    assert {"test/total", "validation/total"} < found.data.tags.keys()
    assert not {"test/total", "validation/total"} & found.data.metrics.keys()
    assert found.data.tags["test/total"] == "10000"


ENERGIES = {
    "energy_with_memory_nanojoules_per_image": 4_000.4,
    "energy_of_quantised_network_nanojoules_per_image": 8_016.2,
    "synaptic_operations_per_image": 8_174.0,
    "energy_with_zeros_skipped_nanojoules_per_image": 1_733.6,
    "energy_of_quantised_network_with_zeros_skipped_nanojoules_per_image": 1_551.1,
}


def test_a_description_compares_energy_with_and_without_zeros_of_which_metrics_have_the_first(store, params):
    with tracking.training_run(params, "cpu") as run:
        run.log_metrics({"test": ENERGIES})
    assert len([name for name in run.read().data.metrics if "energy" in name]) == 2
    description = run.read().data.tags["mlflow.note.content"]
    assert "4,000 nJ per image with memory (an estimate; a quantised ordinary network 8,016)" in description
    assert "\n\nWhere both skip zeros, the network takes 1,734 nJ, the ordinary one 1,551.\n\n" in description
    with tracking.training_run(params, "cpu") as same:
        same.copy_metrics(run.read())
    assert "the ordinary one 1,551." in same.read().data.tags["mlflow.note.content"]
    with tracking.training_run(params, "cpu") as edited:
        edited.copy_metrics(run.read())
        edited.set_tags({"test/energy_with_zeros_skipped_nanojoules_per_image": "little"})
    assert "skip zeros" not in edited.read().data.tags["mlflow.note.content"]


def test_other_settings_of_mlflows_change_nothing(store, params, workspace, monkeypatch):
    with tracking.run_of_model(HASH, params) as users:
        users.log_metrics({"test": {"accuracy": 0.5}})
    settings = {
        "MLFLOW_RUN_ID": users.run_id,
        "MLFLOW_EXPERIMENT_ID": "0",
        "MLFLOW_EXPERIMENT_NAME": "another",
        "MLFLOW_RUN_CONTEXT": '{"mlflow.parentRunId": "another", "lifline": "no"}',
        "MLFLOW_ENABLE_ASYNC_LOGGING": "true",
        "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "true",
        "MLFLOW_ACTIVE_MODEL_ID": "m-another",
        "MLFLOW_REGISTRY_URI": f"sqlite:///{workspace}/registry.db",
        "MLFLOW_TRACKING_DIR": str(workspace / "elsewhere"),
        "MLFLOW_READ_REPLICA_BACKEND_STORE_URI": f"sqlite:///{workspace}/replica.db",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with tracking.training_run(params, "cpu") as run:
        run.log_epoch(epoch_report())
        run.tag_model("cd" * 32)
        run.log_onnx(tiny_onnx().SerializeToString())
        assert measured(run.read())["train/iteration_loss"] == 1.0  # it is there at once
    old, new = all_runs(store)
    assert new.info.run_id == run.run_id != users.run_id
    assert old.data.metrics == {"test/accuracy": 0.5}
    assert new.info.status == "FINISHED"
    assert not {"mlflow.parentRunId", "lifline"} & new.data.tags.keys()
    assert {experiment.name for experiment in store.search_experiments()} <= {"Default", "lifline"}
    assert not [path for path in ("registry.db", "replica.db", "elsewhere") if (workspace / path).exists()]


@pytest.mark.parametrize("settings", [{}, {"MLFLOW_WORKSPACE": "another"}])
def test_a_file_has_no_workspaces(store, params, monkeypatch, settings):
    for name, value in {"MLFLOW_ENABLE_WORKSPACES": "true", **settings}.items():
        monkeypatch.setenv(name, value)
    with tracking.run_of_model(HASH, params) as run:
        pass
    assert run.read().info.status == "FINISHED"


def test_a_run_does_not_change_where_others_of_the_process_log(store, params):
    before = mlflow.get_tracking_uri()
    with tracking.run_of_model(HASH, params):
        pass
    assert mlflow.get_tracking_uri() == before


@pytest.mark.parametrize("name", ["SAMPLING_INTERVAL", "SAMPLES_BEFORE_LOGGING"])
@pytest.mark.parametrize("value", ["often", "-1"])
def test_a_setting_of_the_machines_metrics_that_cannot_be_is_named(store, params, monkeypatch, name, value):
    monkeypatch.setenv(f"MLFLOW_SYSTEM_METRICS_{name}", value)
    with pytest.raises(TrackingError, match=f"{name} is '{value}'; allowed is"), tracking.training_run(params, "cpu"):
        pass


def test_metrics_of_classes_are_logged_whatever_these_are_called(store, params):
    odd = ["C++", "C--", "(a)", "dog|cat", "don't", "a,b", "50%", "a/b", "a//b", "/x", "..", "Ä b", "$"]
    names = [*odd, "total", "A", "a"]
    with tracking.training_run(params, "cpu") as run:
        run.log_metrics({"test": {"accuracy_by_class": {name: i / 100 for i, name in enumerate(names)}}})
    logged = measured(run.read())
    assert sorted(logged.values()) == [i / 100 for i in range(len(names))]
    assert all(name.startswith("test/accuracy_by_class/") and name.count("/") == 2 for name in logged)
    assert len({name.casefold() for name in logged}) == len(names)
    assert logged["test/accuracy_by_class/total"] == 0.13


def test_a_run_names_who_served_the_data(store, params):
    with tracking.run_of_model(HASH, params) as before:
        before.log_dataset(load_dataset(DATA), "test")
    record_source(load_dataset(DATA).sha256, "https://mirror.example/mnist/")
    with tracking.training_run(params, "cpu") as after:
        after.log_dataset(load_dataset(DATA), "train")
    sources = [run.read().inputs.dataset_inputs[0].dataset.source for run in (before, after)]
    assert "unknown" in sources[0]
    assert json.loads(sources[1])["url"] == "https://mirror.example/mnist/"
    assert after.read().data.tags["data_source"] == "https://mirror.example/mnist/"


@pytest.mark.parametrize("login", ["", "me:***@", "***@"])
def test_a_source_of_ones_own_is_a_link_too(store, params, login):
    record_source(load_dataset(DATA).sha256, f"LIFLINE_MNIST_SOURCE=https://{login}mirror.example/mnist/")
    with tracking.run_of_model(HASH, params) as run:
        run.log_dataset(load_dataset(DATA), "test")
    dataset = run.read().inputs.dataset_inputs[0].dataset
    assert dataset.source_type == "http"
    assert json.loads(dataset.source)["url"] == "https://mirror.example/mnist/"


def test_a_run_of_a_model_that_was_trained_elsewhere_says_so(store, params):
    with tracking.run_of_model(HASH, params) as run:
        run.log_metrics({"test": {"accuracy": 0.9}})
    assert "Not trained here" in run.read().data.tags["mlflow.note.content"]
    with tracking.training_run(params, "cpu") as run:
        run.log_epoch(epoch_report())
        run.tag_model("cd" * 32)
    assert "Not trained here" not in run.read().data.tags["mlflow.note.content"]


def test_a_run_goes_on_until_the_last_who_holds_it_lets_go(store, params):
    with tracking.study_run(params, "a") as first:
        with pytest.raises(RuntimeError), tracking.study_run(params, "a") as second:
            raise RuntimeError
        assert second.run_id == first.run_id
        assert first.read().info.status == "RUNNING"
    assert first.read().info.status == "FINISHED"
    assert not [tag for tag in first.read().data.tags if tag.startswith("holder.")]


@pytest.mark.slow
def test_what_killed_processes_left_is_cleared_away(store, params, workspace):
    program = (
        "import os; from lifline.tracking import runs as tracking; from lifline.params import read_params\n"
        "from lifline.tracking.holders import holding, temporary_folder\n"
        "from contextlib import ExitStack\n"
        "stack = ExitStack()\n"
        "study = stack.enter_context(tracking.study_run(read_params(), 'a'))\n"
        "trial = tracking.start_trial_run(study, read_params(), 0)\n"
        "stack.enter_context(holding('sqlite:////nowhere/mlflow.db'))\n"
        "stack.enter_context(temporary_folder(study.holder))\n"
        "os._exit(0)"
    )
    (workspace / ".running").mkdir()
    (workspace / ".running/0123").touch()  # killed before it had a run
    with tracking.study_run(params, "a") as run:
        done = run_python(program)
        assert done.returncode == 0, done.stderr
        tracking.close_dead_trial(run, 1)  # another's trial
        with tracking.run_of_model(HASH, params):
            pass
        assert run.holders() == {run.holder}
        assert run.read().info.status == "RUNNING"
    statuses = {each.info.run_name: each.info.status for each in store.search_runs([run.experiment_id])}
    assert statuses == {"a": "FINISHED", "trial 0": "FAILED"}
    (left,) = (workspace / ".running").iterdir()
    assert left.read_text() == "sqlite:////nowhere/mlflow.db"  # of which this store knows nothing


@pytest.mark.slow
def test_a_run_ends_though_one_that_held_it_too_was_killed(store, params):
    program = (
        "import os; from lifline.tracking import runs as tracking; from lifline.params import read_params\n"
        "with tracking.study_run(read_params(), 'a'): os._exit(0)"
    )
    with tracking.study_run(params, "a") as run:
        assert run_python(program).returncode == 0
        assert len(run.holders()) == 2
    assert run.read().info.status == "FINISHED"
    assert not run.holders()


def left_by_a_dead_process(client, run, status):
    """Let a run be held by a process that has died, too."""
    Path(".running/0123").touch()
    client.set_tag(run.run_id, "holder.0123", f"{status} elsewhere")


@pytest.mark.parametrize("holders", [[], pytest.param(["0123"], marks=pytest.mark.slow), ["0123", "4567"]])
def test_a_trials_run_ends_whoever_holds_it(store, params, holders):
    with tracking.study_run(params, "a") as study:
        trial = tracking.start_trial_run(study, params, 0)
        store.delete_tag(trial.run_id, f"holder.{trial.holder}")
        for holder in holders:  # none, as of older versions
            store.set_tag(trial.run_id, f"holder.{holder}", "FAILED elsewhere")
        assert {number for number, _ in tracking.running_trials(study)} == {0}
        tracking.close_dead_trial(study, 0)
        assert trial.read().info.status == "FAILED"
        assert not trial.holders()


@pytest.mark.parametrize("status", ["FAILED", "KILLED"])
def test_who_opens_a_run_says_what_it_is_if_its_process_dies(store, params, status):
    with tracking.run_of_model(HASH, params) as run:
        pass
    left_by_a_dead_process(store, run, status)
    store.update_run(run.run_id, status="RUNNING")
    with tracking.run_of_model("cd" * 32, params):
        pass
    assert run.read().info.status == status
    assert run.read().data.tags["failure"] == "its process died"


def test_no_other_process_lets_go_of_a_run_while_one_of_a_dead_process_is_closed(store, params, monkeypatch):
    delete_tag = mlflow.MlflowClient.delete_tag

    def try_in_vain(*arguments):
        with pytest.raises(BlockingIOError), locked(Path("mlflow.db.lock"), wait=False):
            pass
        tried.append(arguments)
        return delete_tag(*arguments)

    tried = []
    with tracking.study_run(params, "a") as run:
        left_by_a_dead_process(store, run, "KILLED")
        with monkeypatch.context() as looking:
            looking.setattr(mlflow.MlflowClient, "delete_tag", try_in_vain)
            with tracking.run_of_model(HASH, params):
                assert len(tried) == 1


def test_a_run_is_closed_if_its_holder_lets_go_while_it_is_looked_at(store, params, monkeypatch):
    """As may happen in a database or on a server, which have no lock of lifline's."""
    monkeypatch.setattr(tracking, "exclusive", lambda _uri: nullcontext())
    search, study = mlflow.MlflowClient.search_runs, ExitStack()
    run = study.enter_context(tracking.study_run(params, "a"))
    left_by_a_dead_process(store, run, "KILLED")

    def search_and_let_go(*arguments, **named):
        found = search(*arguments, **named)
        study.close()
        return found

    monkeypatch.setattr(mlflow.MlflowClient, "search_runs", search_and_let_go)
    with tracking.run_of_model(HASH, params):
        pass
    assert run.read().info.status == "KILLED"
    assert not run.holders()


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


@pytest.mark.slow
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
    git(workspace, "init", "--quiet")
    git(workspace, "add", "params.yaml", "dvc.yaml")
    git(workspace, "commit", "--quiet", "--message", "start")
    commit = git(workspace, "rev-parse", "HEAD")
    monkeypatch.setenv("DVC_EXP_NAME", "calm-heron")
    monkeypatch.setenv("DVC_STAGE", "train")
    with tracking.training_run(params, "cpu") as run:
        run.tag_model(HASH)
    (workspace / "params.yaml").write_text("# changed\n")
    git(workspace, "commit", "--quiet", "--all", "--message", "later")
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
    assert training.communicate()[1] == "error: interrupted; the same command goes on\n"
    assert [run.info.status for run in all_runs(store)] == ["KILLED"]
    assert not list((workspace / "models").glob("*") if (workspace / "models").exists() else [])
    assert list((workspace / ".running").iterdir()) == []


@pytest.mark.slow
def test_many_may_start_at_once_in_a_new_repository(workspace):
    program = (
        "from lifline.tracking import runs as tracking; from lifline.params import read_params\n"
        "with tracking.training_run(read_params(), 'cpu'): pass"
    )
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(run_python, [program] * 3))
    assert [(process.returncode, process.stderr) for process in done] == [(0, "")] * 3
    assert len(all_runs(mlflow.MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}"))) == 3


@pytest.mark.slow
def test_runs_may_log_a_new_data_set_at_the_same_moment(workspace, mnist_file):
    """MLflow looks for it and then adds it, and of two that do so at once one fails: of 40 such moments 25 times."""
    program = (
        "import time; from pathlib import Path\n"
        "from lifline.data.datasets import load_dataset; from lifline.params import read_params\n"
        "from lifline.tracking import runs as tracking\n"
        f"dataset = load_dataset(Path({str(mnist_file)!r})); start = {time.time() + 15}\n"
        "with tracking.training_run(read_params(), 'cpu') as run:\n"
        "    for moment in range(20):\n"
        "        new = dataset._replace(sha256=f'{moment:064}'[::-1])\n"
        "        while time.time() < start + 0.5 * moment: pass\n"
        "        run.log_dataset(new, 'train')\n"
        "    print(len(run.read().inputs.dataset_inputs))\n"
    )
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(run_python, [program] * 2))
    assert [(process.returncode, process.stdout, process.stderr) for process in done] == [(0, "20\n", "")] * 2


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
    outcome = stage("train")
    assert_one_line_error(outcome, *parts)
    assert "secret" not in outcome[1]
    assert not (workspace / "models").exists()


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
    change_unseen_by_git(workspace / "params.yaml", "0.95", "0.77")
    with tracking.run_of_model(HASH, params):
        pass
    assert all_runs(store)[0].data.tags["git_dirty"] == "true"
