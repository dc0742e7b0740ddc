"""What a stage says when something is wrong: one line, exit code 2, and nothing half-written.

Here is one fault of each kind; all of a kind are where what finds them is tested.
"""

import shutil
import subprocess

import mlflow
import numpy as np
import pytest

from lifline.data.datasets import load_dataset, save_dataset
from lifline.export.onnx import to_onnx
from lifline.params import read_params
from lifline.paths import DATA, EVALUATION, FORMATS, GATE, MODEL, ONNX_MODEL, PREDICTIONS
from lifline.presets import change_params
from tests.conftest import NUM_TRAIN, assert_one_line_error, first, save_untrained, untrained
from tests.disks import FILL, disk
from tests.processes import Process, finished, run_python, start_python, start_stage
from tests.tuning import studies


def test_wrong_params(workspace, stage):
    text = (workspace / "params.yaml").read_text()
    (workspace / "params.yaml").write_text(text.replace("beta: 0.95", "beta: .nan"))
    for name in ("train", "evaluate", "export"):
        assert_one_line_error(stage(name), "params.yaml: network.beta is nan", "allowed is a number from 0 to 1")
    assert not (workspace / "mlflow.db").exists()


def test_wrong_kernels(store, stage, monkeypatch):
    monkeypatch.setenv("LIFLINE_KERNELS", "fast")
    assert_one_line_error(stage("train"), "LIFLINE_KERNELS is 'fast'; allowed are fused and reference")


@pytest.mark.parametrize("name", ["train", "evaluate", "export"])
def test_missing_or_damaged_data(workspace, stage, name):
    content = bytearray(DATA.read_bytes())
    DATA.unlink()
    assert_one_line_error(stage(name), f"{DATA} is missing; `dvc repro download` makes it")
    content[-1] ^= 1
    DATA.write_bytes(content)
    assert_one_line_error(stage(name), f"{DATA} is damaged", "dvc repro -f download")


def test_more_images_for_validation_than_there_are(workspace, stage):
    change_params({"data.validation_size": NUM_TRAIN})
    assert_one_line_error(stage("train"), "data.validation_size is 1500", "allowed is a whole number from 1 to 1499")


def test_one_image_is_nothing_to_learn_from(workspace, stage):
    dataset = load_dataset(DATA)
    DATA.unlink()
    save_dataset(dataset.info, first(dataset.train, 1), dataset.test, DATA)
    change_params({"data.validation_size": 1})
    assert_one_line_error(stage("train"), "data.validation_size is 1")


def test_layers_that_the_images_are_too_small_for(workspace, stage):
    np.savez(workspace / "data/own.npz", x_train=np.zeros((60, 28, 28), np.uint8), y_train=np.arange(60) % 3)
    change_params({"data.dataset": "own.npz", "data.validation_size": 10, "network.layers": "12C30-MP2"})
    for name in ("download", "train"):
        assert_one_line_error(stage(name), "network.layers is '12C30-MP2', which the image is too small for", "allowed")


def test_more_images_held_out_for_the_champion_than_there_are(workspace, stage):
    change_params({"data.gate_size": NUM_TRAIN})
    assert_one_line_error(stage("train"), "data.gate_size is 1500", "allowed is a whole number from 0 to 999")


@pytest.mark.parametrize("name", ["evaluate", "export"])
def test_wrong_models(workspace, stage, name):
    assert_one_line_error(stage(name), f"{MODEL} is missing; `dvc repro train` makes it")
    save_untrained()
    change_params({"network.num_steps": 9})
    assert_one_line_error(stage(name), "was trained with network.num_steps 4, but params.yaml has 9")
    MODEL.write_bytes(MODEL.read_bytes()[:2000])
    assert_one_line_error(stage(name), f"{MODEL} is damaged")


def test_export_without_an_evaluation(workspace, stage):
    save_untrained()
    assert_one_line_error(stage("export"), f"{EVALUATION} is missing")


@pytest.mark.parametrize("table", [PREDICTIONS, pytest.param(GATE, marks=pytest.mark.slow)])
def test_an_export_with_decisions_of_another_model(store, stage, table):
    """As after `git checkout` of another commit, which brings the evaluation without DVC's tables."""
    change_params({"data.gate_size": 100, "network.threshold": 0.1})  # at which what is untrained fires
    save_untrained(seed=1)
    assert stage("evaluate")[0] == 0
    of_another = table.read_bytes()
    save_untrained(seed=2)
    assert stage("evaluate")[0] == 0
    assert table.read_bytes() != of_another
    table.write_bytes(of_another)
    assert_one_line_error(stage("export"), f"{table} is of another evaluation", "dvc repro")
    assert not store.search_model_versions()


def test_an_export_that_differs_leaves_no_file(store, stage, monkeypatch):
    save_untrained()
    assert stage("evaluate")[0] == 0
    ONNX_MODEL.write_bytes(b"of an earlier export")
    (FORMATS / "integer").mkdir(parents=True)
    (FORMATS / "integer/network.c").write_bytes(b"likewise")
    params = read_params().network
    another = to_onnx(untrained(params, seed=99).network, params.decoding, {})
    monkeypatch.setattr("lifline.export.formats.to_onnx", lambda *_: another)
    assert_one_line_error(stage("export"), "differ in class on", "allowed by export.max_class_mismatches are 0")
    assert not ONNX_MODEL.exists()
    assert not FORMATS.exists()
    change_params({"export.max_class_mismatches": 10_000})
    assert stage("export")[0] == 0
    assert ONNX_MODEL.exists()
    assert (FORMATS / "integer/network.c").read_bytes().startswith(b"/*")


def ended(process: Process) -> tuple[int, str]:
    _, error = process.communicate()
    return process.returncode, error


def test_a_full_disk_takes_no_model(store, workspace, disks):
    """That a read-only one is named, too, is shown below."""
    training = start_stage("train", workspace, before=disk("models", "16k", "true"))
    assert_one_line_error(ended(training), str(MODEL), "No space left on device")
    assert not (workspace / "reports/train.json").exists()


def test_a_full_disk_takes_no_data_set(workspace, disks):
    np.savez(workspace / "own.npz", x_train=np.zeros((600, 28, 28), np.uint8), y_train=np.arange(600) % 3)
    change_params({"data.dataset": "../own.npz", "data.validation_size": 100})
    download = start_stage("download", workspace, before=disk("data", "200k", "true"))
    assert_one_line_error(ended(download), str(DATA), "No space left on device")


def test_a_full_disk_under_the_store(store, workspace, disks, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace / 'store/mlflow.db'}")
    training = start_stage("train", workspace, before=disk("store", prepare=f"cp mlflow.db store && {FILL}"))
    assert_one_line_error(ended(training), "store/mlflow.db does not work", "database or disk is full")


def test_a_read_only_disk_under_the_artifacts(store, workspace, disks):
    training = start_stage("train", workspace, before=disk("mlartifacts", prepare="mount -o remount,ro $1"))
    assert_one_line_error(ended(training), "/mlartifacts/", "Read-only file system")


LOG_ONNX = """
from lifline.command import run_command
from lifline.params import read_params
from lifline.tracking import runs
from tests.tracking.runs import tiny_onnx

def main():
    with runs.run_of_model("ab" * 32, read_params()) as run:
        print(run.log_onnx(tiny_onnx().SerializeToString()))

run_command(main)
"""


def test_a_full_disk_takes_no_onnx_artifact(store, workspace, disks):
    done = run_python(LOG_ONNX, before=disk("mlartifacts"))
    assert_one_line_error((done.returncode, done.stderr), "/mlartifacts", "No space left on device")
    done = run_python(LOG_ONNX)
    assert (done.returncode, done.stderr) == (0, "")
    mlflow.set_tracking_uri(f"sqlite:///{workspace / 'mlflow.db'}")
    mlflow.pyfunc.load_model(f"models:/{done.stdout.strip()}")


def tune(num_trials: int, **options) -> subprocess.CompletedProcess:
    return finished(start_python(studies.__file__, "tune", "--trials", str(num_trials), **options))


def test_a_full_disk_under_a_study_loses_nothing(store, workspace, disks):
    change_params(studies.SMALL_TRIALS)
    (workspace / "studies").mkdir()
    (workspace / "optuna.journal").symlink_to("studies/optuna.journal")
    before = tune(1)
    shutil.copy(workspace / "studies/optuna.journal", workspace / "optuna.journal.before")
    fill = f"cp optuna.journal.before studies/optuna.journal; {FILL}"
    done = tune(3, before=disk("studies", "64k", fill))
    assert_one_line_error((done.returncode, done.stderr), "optuna.journal", "No space left on device")
    again = tune(2)
    assert before.stdout.splitlines()[-1] == again.stdout.splitlines()[-1]  # the study's name is in it
    assert ": 1 of 2 trials done" in again.stdout
