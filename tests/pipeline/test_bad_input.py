"""What a stage says when something is wrong: one line, exit code 2, and nothing half-written."""

import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

from lifline.data.datasets import MNIST
from lifline.export.onnx import to_onnx
from lifline.params import read_params
from lifline.paths import MODEL
from tests.conftest import ROOT, assert_one_line_error, save_untrained, untrained


def edit_params(workspace, old, new):
    path = workspace / "params.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def own_data(workspace, mnist_folder):
    """Give the workspace files of its own to damage."""
    folder = workspace / "data/mnist"
    folder.unlink()
    folder.mkdir()
    for file in MNIST.files:
        (folder / file.name).symlink_to(mnist_folder / file.name)
    return folder


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("beta: 0.95", "beta: .nan", ["params.yaml: network.beta is nan", "allowed is a number from 0 to 1"]),
        ("beta: 0.95", "betta: 0.95", ["network.betta is unknown", "allowed are hidden, beta"]),
        ("batch_size: 128", "batch_size: many", ["train.batch_size is 'many'", "allowed is a whole number"]),
        ("device: auto", "device: tpu", ["train.device is 'tpu'", "allowed is auto, cpu, cuda, mps"]),
    ],
)
def test_wrong_params(workspace, stage, old, new, parts):
    edit_params(workspace, old, new)
    for name in ("train", "evaluate", "export"):
        assert_one_line_error(stage(name), *parts)
    assert not (workspace / "mlflow.db").exists()


def test_wrong_kernels(workspace, stage, monkeypatch):
    monkeypatch.setenv("LIFLINE_KERNELS", "fast")
    assert_one_line_error(stage("train"), "LIFLINE_KERNELS is 'fast'; allowed are fused and reference")


def test_missing_params(workspace, stage):
    (workspace / "params.yaml").unlink()
    assert_one_line_error(stage("train"), "params.yaml is missing")


def test_missing_data(workspace, stage, mnist_folder):
    (own_data(workspace, mnist_folder) / MNIST.train[1].name).unlink()
    assert_one_line_error(stage("train"), f"data/mnist/{MNIST.train[1].name} is missing", "dvc repro download")


def test_truncated_data(workspace, stage, mnist_folder):
    path = own_data(workspace, mnist_folder) / MNIST.train[0].name
    path.unlink()
    path.write_bytes((mnist_folder / MNIST.train[0].name).read_bytes()[:1_000_000])
    assert_one_line_error(stage("train"), f"{path.relative_to(workspace)} is damaged: it has 1000000 bytes, allowed is")


def test_labels_over_9(workspace, stage, mnist_folder):
    path = own_data(workspace, mnist_folder) / MNIST.test[1].name
    content = bytearray(path.read_bytes())
    path.unlink()
    content[-1] = 200
    path.write_bytes(content)
    save_untrained()
    assert_one_line_error(stage("evaluate"), "is damaged: its SHA-256 is")


def test_training_needs_no_test_images(workspace, stage, mnist_folder):
    folder = own_data(workspace, mnist_folder)
    for file in MNIST.files[2:]:
        (folder / file.name).unlink()
    assert stage("train")[0] == 0


@pytest.mark.parametrize("name", ["evaluate", "export"])
def test_missing_model(workspace, stage, name):
    assert_one_line_error(stage(name), f"{MODEL} is missing; `dvc repro train` makes it")


@pytest.mark.parametrize("name", ["evaluate", "export"])
def test_truncated_model(workspace, stage, name):
    save_untrained()
    MODEL.write_bytes(MODEL.read_bytes()[:2000])
    assert_one_line_error(stage(name), f"{MODEL} is damaged")


@pytest.mark.parametrize("name", ["evaluate", "export"])
def test_model_made_for_other_params(workspace, stage, name):
    save_untrained()
    edit_params(workspace, "num_steps: 4", "num_steps: 9")
    assert_one_line_error(stage(name), "was trained with network.num_steps 4, but params.yaml has 9")


@pytest.mark.parametrize(
    ("content", "part"),
    [(None, "is missing"), ("{", "is damaged"), ("{}", "is damaged"), ('{"accuracy": 0.9}', "is damaged")],
)
def test_export_without_an_evaluation(workspace, stage, content, part):
    save_untrained()
    if content is not None:
        (workspace / "reports").mkdir()
        (workspace / "reports/evaluation.json").write_text(content)
    assert_one_line_error(stage("export"), "reports/evaluation.json", part)


def test_an_export_that_differs_leaves_no_file(workspace, stage, monkeypatch):
    assert stage("train")[0] == 0
    assert stage("evaluate")[0] == 0
    assert stage("export")[0] == 0

    def export_another(network, decoding, metadata):
        return to_onnx(untrained(read_params().network, seed=99).network, decoding, metadata)

    monkeypatch.setattr("lifline.export.onnx.to_onnx", export_another)
    assert_one_line_error(stage("export"), "differ in class on", "allowed by export.max_class_mismatches are 0")
    assert not (workspace / "models/model.onnx").exists()
    edit_params(workspace, "max_class_mismatches: 0", "max_class_mismatches: 10000")
    assert stage("export")[0] == 0
    assert (workspace / "models/model.onnx").exists()


def with_disk(
    options: str, folder: str, workspace: Path, name: str, prepare: str = "true"
) -> subprocess.CompletedProcess:
    """Run a stage with a disk of its own mounted at `folder`, once a shell command has prepared that."""
    return command_with_disk(options, folder, workspace, prepare, str(ROOT / "pipeline" / f"{name}.py"))


def command_with_disk(
    options: str, folder: str, workspace: Path, prepare: str, *arguments: str
) -> subprocess.CompletedProcess:
    """The same for Python with these arguments."""
    (workspace / folder).mkdir(exist_ok=True)
    mounted = f'mount -t tmpfs -o {options} tmpfs "$1" && {prepare} && shift && exec "$@"'
    return subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mounted, "sh",
         folder, sys.executable, *arguments],
        cwd=workspace, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def disks(tmp_path):
    trial = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run(trial, capture_output=True, check=False).returncode != 0:
        pytest.skip("a disk of its own cannot be mounted for a process here")


@pytest.mark.parametrize(
    ("options", "reason"), [("size=16k", "No space left on device"), ("ro", "Read-only file system")]
)
def test_a_full_or_read_only_disk(workspace, disks, options, reason):
    done = with_disk(options, "models", workspace, "train")
    assert_one_line_error((done.returncode, done.stderr), str(MODEL), reason)
    assert not (workspace / "reports/train.json").exists()


def test_a_full_disk_takes_no_download(workspace, disks, mnist_folder, monkeypatch):
    monkeypatch.setenv("LIFLINE_MNIST_SOURCE", str(mnist_folder))
    (workspace / "data/mnist").unlink()
    done = with_disk("size=20m", "data", workspace, "download")
    assert_one_line_error((done.returncode, done.stderr), "data/mnist", "No space left on device")


FILL = "(cat /dev/zero 2>/dev/null > $1/filler; true)"


@pytest.mark.parametrize(
    ("folder", "prepare", "parts"),
    [
        ("store", f"cp mlflow.db store && {FILL}", ["store/mlflow.db does not work", "database or disk is full"]),
        ("mlartifacts", FILL, ["/mlartifacts/", "No space left on device"]),
        ("mlartifacts", "mount -o remount,ro $1", ["/mlartifacts/", "Read-only file system"]),
    ],
)
def test_a_full_or_read_only_disk_under_mlflow(workspace, disks, monkeypatch, folder, prepare, parts):
    mlflow.MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")  # which makes the tables
    if folder == "store":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace / 'store/mlflow.db'}")
    done = with_disk("size=4m", folder, workspace, "train", prepare)
    assert_one_line_error((done.returncode, done.stderr), *parts)


def test_a_full_disk_under_a_study_loses_nothing(workspace, disks):
    (workspace / "studies").mkdir()
    (workspace / "optuna.journal").symlink_to("studies/optuna.journal")
    tune = ["-c", "from lifline.cli import main; main()", "tune", "--trials"]
    fill = "cp optuna.journal.before studies/optuna.journal; " + FILL
    before = subprocess.run([sys.executable, *tune, "1"], cwd=workspace, capture_output=True, text=True, check=True)
    journal = workspace / "studies/optuna.journal"
    shutil.copy(journal, workspace / "optuna.journal.before")
    done = command_with_disk("size=64k", "studies", workspace, fill, *tune, "3")
    assert_one_line_error((done.returncode, done.stderr), "optuna.journal", "No space left on device")
    again = subprocess.run([sys.executable, *tune, "2"], cwd=workspace, capture_output=True, text=True, check=True)
    assert before.stdout.splitlines()[-1].split(":")[0] == again.stdout.splitlines()[-1].split(":")[0]
    assert ": 1 of 2 trials done" in again.stdout


def test_a_full_disk_takes_no_onnx_artifact(workspace, disks, stage):
    assert stage("train")[0] == stage("evaluate")[0] == 0
    done = with_disk("size=4m", "mlartifacts", workspace, "export", FILL)
    assert_one_line_error((done.returncode, done.stderr), str(workspace / "mlartifacts"), "No space left on device")
    assert stage("export")[0] == 0
    mlflow.set_tracking_uri(f"sqlite:///{workspace / 'mlflow.db'}")
    (run,) = mlflow.search_runs(experiment_names=["lifline"], output_format="list")
    mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")
