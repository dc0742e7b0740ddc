"""The real pipeline, run by the real DVC in a clone of this repository, with a smaller network."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
import pytest

from docs.tools.snippets import snippets_of
from lifline.data.datasets import load_dataset
from lifline.params import read_params
from lifline.paths import DATA
from lifline.system.files import sha256_of
from tests.conftest import ROOT, clean_environment, write_tutorial_params
from tests.processes import run_python

MISMATCHES = 3
"""A sum that a processor rounds in another order may decide a spike, and with it a class."""

SMALL = {
    "data.dataset": "small",
    "data.validation_size": 1_000,
    "network.layers": "60",
    "network.num_steps": 8,
    "train.epochs": 4,
    "export.max_class_mismatches": MISMATCHES,
}

DVC = "import sys; from dvc.cli import main; sys.exit(main(sys.argv[1:]))"


class Clone:
    """A clone of this repository, and commands run in it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = {
            **clean_environment(),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }

    def run(self, *command: str) -> str:
        """Run a command as a process of its own."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def dvc(self, *arguments: str) -> str:
        """Run a command of DVC's, forked; its output. Stages that it runs are real processes."""
        done = run_python(DVC, *arguments, cwd=self.folder, env=self.environment)
        assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def git(self, *arguments: str) -> str:
        return self.run("git", "-c", "user.name=a", "-c", "user.email=a@example.com", *arguments)

    def json(self, path: str) -> dict:
        return json.loads((self.folder / path).read_text())

    def rows(self, path: str) -> list[dict[str, str]]:
        with (self.folder / path).open() as file:
            return list(csv.DictReader(file))

    def runs(self) -> list:
        mlflow.set_tracking_uri(f"sqlite:///{self.folder / 'mlflow.db'}")
        client = mlflow.MlflowClient()
        experiment = client.get_experiment_by_name("lifline")
        return client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"])


def copy_of_this_repository(folder: Path, values: dict[str, Any]) -> Clone:
    """What a commit of the working tree would hold, committed in a repository of its own."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(os.path.isfile, (str(ROOT / line) for line in listed.stdout.splitlines())):
        target = folder / Path(name).relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(name, target)
    write_tutorial_params(folder, values)
    clone = Clone(folder)
    clone.git("init", "--quiet")
    clone.git("add", "--all")
    clone.git("commit", "--quiet", "--message", "other params")
    return clone


@pytest.fixture(scope="module")
def clone(tmp_path_factory, idx_folder) -> Clone:
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(idx_folder, folder / "data/small")
    clone = copy_of_this_repository(folder, SMALL)
    clone.run("dvc", "repro")
    clone.git("add", "--all")
    clone.git("commit", "--quiet", "--message", "its results")
    return clone


@pytest.fixture(scope="module")
def champion(clone) -> Clone:
    """The clone, once its model is the champion."""
    assert "models:/lifline@champion is version 1" in clone.run("lifline", "champion")
    return clone


def test_repro_leaves_a_model_reports_and_nothing_else_in_git(clone):
    tracked = set(clone.git("ls-files").split())
    for report in ("train.json", "metrics.json", "evaluation.json", "export.json"):
        assert f"reports/{report}" in tracked
    assert "models/model_card.md" in tracked
    not_in_git = ("data/images", "models/model.", "models/formats", "reports/figures", "mlflow", "mlartifacts")
    not_in_git += ("reports/loss.csv", "reports/predictions.csv", "reports/firing_rates.csv")  # bulky: DVC keeps them
    assert not {name for name in tracked if name.startswith(not_in_git)}
    assert (clone.folder / "models/model.safetensors").is_file()
    onnx.checker.check_model(onnx.load(clone.folder / "models/model.onnx"), full_check=True)


def test_reports_agree_with_each_other(clone):
    evaluation, export = clone.json("reports/evaluation.json"), clone.json("reports/export.json")
    rows = clone.rows("reports/predictions.csv")
    assert len(rows) == evaluation["total"] == export["onnx"]["images"] == 1_000
    assert sum(row["actual"] == row["predicted"] for row in rows) == evaluation["correct"]
    assert evaluation["accuracy"] == evaluation["correct"] / 1_000
    assert evaluation["accuracy"] > 0.7
    assert export["onnx"]["class_mismatches"] <= MISMATCHES
    assert export["nir"]["snnTorch by hand"]["class_mismatches"] <= MISMATCHES
    assert export["integer"]["test"]["float_accuracy"] == evaluation["accuracy"]
    stops = evaluation["by_num_steps"]
    assert [stop["num_steps"] for stop in stops] == list(range(1, 9))
    assert stops[-1]["accuracy"] == evaluation["accuracy"]
    assert stops[-1]["spikes_per_image"] == sum(evaluation["spikes_per_image"].values())
    assert stops[0]["spikes_per_image"] < stops[-1]["spikes_per_image"]
    bins = clone.rows("reports/firing_rates.csv")
    mean = sum(float(each["firing_rate"]) * float(each["hidden_1"]) for each in bins)
    assert mean == pytest.approx(evaluation["firing_rate"]["hidden_1"], abs=0.01)
    card = (clone.folder / "models/model_card.md").read_text()
    assert f"{evaluation['accuracy']:.2%} of the 1,000 test images" in card
    assert sha256_of(clone.folder / "models/model.safetensors") in card
    points = clone.rows("reports/loss.csv")
    training = clone.json("reports/train.json")
    assert int(points[-1]["iteration"]) == 160
    assert float(points[-1]["validation_accuracy"]) == training["validation_accuracy"]
    assert clone.json("reports/metrics.json")["test_accuracy"] == evaluation["accuracy"]
    assert len(points) == 16
    assert float(points[-1]["train_loss"]) < float(points[0]["train_loss"])


def test_outputs_name_no_path_time_run_or_host(clone):
    run = clone.runs()[0]
    traces = [str(clone.folder), str(ROOT), run.info.run_id, os.uname().nodename + ":"]
    formats = [f"models/formats/{name}" for name in ("model.nir", "integer/network.c", "integer/network.safetensors")]
    files = ("models/model.safetensors", "models/model.onnx", *formats)
    files += tuple(clone.git("ls-files", "reports", "models").split())
    for name in (*files, *(f"reports/figures/{path.name}" for path in (clone.folder / "reports/figures").iterdir())):
        content = (clone.folder / name).read_bytes()
        assert not [trace for trace in traces if trace.encode() in content], name


def test_one_run_holds_it_all(clone):
    run = clone.runs()[0]
    params = read_params(clone.folder / "params.yaml")
    assert run.info.status == "FINISHED"
    assert run.data.params == {name: str(value) for name, value in params.flat().items()}
    assert run.data.tags["model_sha256"] == sha256_of(clone.folder / "models/model.safetensors")
    assert run.data.tags["dvc_stage"] == "train evaluate export"
    assert run.data.tags["git_commit"] == clone.git("rev-parse", "HEAD~1").strip()
    assert run.data.tags["git_dirty"] == "false"
    assert run.data.metrics["test/accuracy"] == clone.json("reports/evaluation.json")["accuracy"]
    assert (
        run.data.metrics["export/onnx/class_mismatches"]
        == clone.json("reports/export.json")["onnx"]["class_mismatches"]
    )
    for metric in ("train/accuracy", "validation/loss", "speed/epoch_seconds", "system/cpu_utilization_percentage"):
        assert metric in run.data.metrics
    assert {entry.dataset.name for entry in run.inputs.dataset_inputs} == {"small-train", "small-test"}
    artifacts = {file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id)}
    assert {"params.yaml", "dvc.lock", "loss.csv", "evaluation.json", "export.json", "model_card.md"} <= artifacts
    figures = {path.name for path in (clone.folder / "reports/figures").iterdir()}
    assert len(figures) == 6
    assert {"training.png", *figures} <= artifacts
    assert run.info.run_name == "tutorial: dataset small, layers 60, num_steps 8, epochs 4, validation_size 1000"
    description = run.data.tags["mlflow.note.content"]
    assert f"test accuracy **{run.data.metrics['test/accuracy']:.2%}**" in description
    assert "nJ per image" in description
    assert "Recipe tutorial with data.dataset small (not mnist), network.layers 60 (not 1000), " in description
    assert "(#/models/lifline/versions/1)" in description


def test_the_exported_model_is_a_version_that_can_be_champion(champion, test_images):
    run = champion.runs()[0]
    version = mlflow.MlflowClient().get_model_version_by_alias("lifline", "champion")
    files = Path(mlflow.artifacts.download_artifacts("models:/lifline@champion"))
    for name in ("formats/model.nir", "formats/integer/network.c", "formats/integer/network.h"):
        assert (files / name).read_bytes() == (champion.folder / "models" / name).read_bytes()
    assert (files / "predictions.csv").read_bytes() == (champion.folder / "reports/predictions.csv").read_bytes()
    card = (champion.folder / "models/model_card.md").read_text()
    assert card.startswith(version.description)  # there is no room for its last sections
    assert "## Energy" in version.description
    images = test_images.images[:200].numpy().astype(np.float32) / 255
    expected = [int(row["predicted"]) for row in champion.rows("reports/predictions.csv")][:200]
    for uri in ("models:/lifline@champion", f"runs:/{run.info.run_id}/model"):
        model = mlflow.pyfunc.load_model(uri)
        outputs = model.predict({"image": images})
        assert outputs["class"].tolist() == expected
        assert outputs["spikes"].shape == (8, 200, 10)
        assert outputs["hidden_1"].shape == (8, 200, 60)
        assert model.metadata.signature is not None
        assert model.input_example["image"].shape == (1, 1, 28, 28)


@pytest.mark.slow
def test_a_clone_that_has_the_outputs_from_a_cache_registers_what_it_has(clone, tmp_path):
    copy = Clone(tmp_path / "copy")
    clone.git("clone", "--quiet", str(clone.folder), str(copy.folder))
    copy.dvc("cache", "dir", "--local", str(clone.folder / ".dvc/cache"))
    copy.dvc("checkout")
    assert "up to date" in copy.dvc("repro")
    refused = subprocess.run(
        ["lifline", "champion"], cwd=copy.folder, env=copy.environment, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    advised = re.search(r"`(dvc repro .*?)`", refused.stderr)
    copy.run(*advised[1].split())
    assert "models:/lifline@champion is version 1" in copy.run("lifline", "champion")
    assert copy.git("status", "--porcelain") == ""


@pytest.mark.slow
def test_the_program_that_asks_the_champion_runs(champion):
    [program] = [each.program.text for each in snippets_of((ROOT / "docs/models.md").read_text())]
    done = run_python(program, cwd=champion.folder, env=champion.environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.match(r"\[\d\]", done.stdout)


def test_the_onnx_file_says_what_it_is(clone):
    *metadata, _seal = onnx.load(clone.folder / "models/model.onnx").metadata_props
    assert {entry.key: json.loads(entry.value) for entry in metadata} == {
        "params": read_params(clone.folder / "params.yaml").flat(),
        "model_sha256": sha256_of(clone.folder / "models/model.safetensors"),
        "test_accuracy": clone.json("reports/evaluation.json")["accuracy"],
        "coding": "constant",
        "dataset": load_dataset(clone.folder / DATA).info.model_dump(mode="json"),
    }


def test_repro_again_does_nothing(clone):
    assert "Data and pipelines are up to date" in clone.dvc("repro")
    assert clone.git("status", "--porcelain") == ""


def test_dvc_shows_metrics_plots_and_params(clone):
    accuracy = clone.json("reports/evaluation.json")["accuracy"]
    shown = json.loads(clone.dvc("metrics", "show", "--json"))
    assert shown[""]["data"]["reports/metrics.json"]["data"]["test_accuracy"] == accuracy
    names = [name for file in shown[""]["data"].values() for name in file["data"]]
    assert len(names) == len({*names} - read_params(clone.folder / "params.yaml").flat().keys()) <= 8
    params = clone.folder / "params.yaml"
    params.write_text(params.read_text().replace("beta: 0.95", "beta: 0.9"))
    try:
        assert re.search(r"network\.beta.*0\.95.*0\.9", clone.dvc("params", "diff"))
    finally:
        clone.git("checkout", "--quiet", "params.yaml")
    clone.dvc("plots", "show", "--out", "dvc_plots")
    page = (clone.folder / "dvc_plots/index.html").read_text()
    for title in (
        "Loss",
        "Validation accuracy",
        "Confusion on the test set",
        "Accuracy by number of steps",
        "Spikes by number of steps",
        "Firing rates",
        "raster.png",
    ):
        assert title in page


@pytest.mark.slow
def test_an_experiment_in_a_copy_lands_in_the_same_store_and_runs_the_copys_code(clone):
    num_runs = len(clone.runs())
    device = clone.folder / "src/lifline/device.py"
    code = device.read_text()
    device.write_text(code.replace('if device.type == "cpu" else', "+ ' of the copy' if device.type == \"cpu\" else"))
    try:
        clone.dvc("exp", "run", "--temp", "--name", "calm-heron", "-S", "network.beta=0.9", "train")
    finally:
        device.write_text(code)
    assert len(clone.runs()) == num_runs + 1
    run = clone.runs()[-1]
    assert run.data.tags["dvc_exp_name"] == "calm-heron"
    recipe = "tutorial: dataset small, layers 60, beta 0.9, num_steps 8, epochs 4, 1 more"
    assert run.info.run_name == f"calm-heron ({recipe})"
    assert run.data.params["network.beta"] == "0.9"
    assert run.data.tags["device"].endswith("of the copy")
    assert run.info.artifact_uri.startswith((clone.folder / "mlartifacts").as_uri())
    assert clone.git("status", "--porcelain") == ""
    assert "calm-heron" in clone.dvc("exp", "show", "--csv")


@pytest.mark.slow
def test_an_experiment_in_place_compares(clone):
    try:
        clone.dvc("exp", "run", "--name", "low-beta", "-S", "network.beta=0.5", "evaluate")
        clone.dvc("plots", "diff", "HEAD", "low-beta", "--out", "dvc_plots")
        page = (clone.folder / "dvc_plots/index.html").read_text()
        for title in ("Confusion on the test set", "Firing rates", "low-beta_reports_figures_raster.png"):
            assert title in page
        assert clone.runs()[-1].data.params["network.beta"] == "0.5"
        table = clone.run("env", "COLUMNS=120", "make", "--silent", "--old-file=.venv/installed", "exp")
        assert "low-beta" in table
        assert max(map(len, table.splitlines())) <= 120
        shown = set(re.findall(r"[\w.]+", table))
        assert {"network.beta", "validation_accuracy"} <= shown
        assert "test_accuracy" not in shown
        difference = json.loads(clone.dvc("metrics", "diff", "--json", "HEAD"))
        assert difference["reports/metrics.json"]["test_accuracy"]["diff"] != 0
    finally:
        clone.git("checkout", "--quiet", ".")
        clone.dvc("checkout")


@pytest.mark.slow
def test_a_forced_repro_that_was_killed_goes_on_and_changes_no_hash(clone):
    model = clone.folder / "models/model.safetensors"
    for _ in range(10):
        num_runs = len(clone.runs())
        kill_after_an_epoch(clone)
        if not model.exists():  # else the training was over before it was killed
            break
    assert "goes on after epoch" in clone.dvc("repro", "--force")
    killed, finished = clone.runs()[num_runs:]
    assert [killed.info.status, finished.info.status] == ["KILLED", "FINISHED"]
    assert finished.data.metrics["test/accuracy"] == clone.json("reports/evaluation.json")["accuracy"]
    assert clone.git("status", "--porcelain") == ""
    assert clone.dvc("status") == "Data and pipelines are up to date.\n"
    assert not list(clone.folder.glob(".checkpoints/*"))


@pytest.mark.slow
def test_a_typo_takes_no_output_away(clone):
    params, outputs = clone.folder / "params.yaml", [*clone.folder.glob("models/*"), *clone.folder.glob("reports/**/*")]
    text = params.read_text()
    for typo in ("betta: 0.95", "beta: 1.5", "beta: fast"):
        params.write_text(text.replace("beta: 0.95", typo))
        done = run_python(DVC, "repro", cwd=clone.folder, env=clone.environment)
        assert done.returncode != 0
        assert "error: params.yaml: network.bet" in done.stderr
    params.write_text(text.replace("dataset: small", "dataset: smal"))
    done = run_python(DVC, "repro", cwd=clone.folder, env=clone.environment)
    assert "No such file or directory" in done.stderr  # in DVC's words, which looks at what a stage depends on first
    assert "data/smal" in done.stderr
    params.write_text(text)
    assert all(path.exists() for path in outputs)
    assert clone.git("status", "--porcelain") == ""
    assert "Data and pipelines are up to date" in clone.dvc("repro")


@pytest.mark.slow
def test_a_change_of_own_files_is_noticed(clone):
    labels = clone.folder / "data/small/train-labels-idx1-ubyte"
    content = labels.read_bytes()
    labels.write_bytes(content[:-1] + bytes([(content[-1] + 1) % 10]))
    try:
        assert re.search(r"modified:\s+data/small", clone.dvc("status", "download"))
        clone.dvc("repro", "download")
        assert re.search(r"modified:\s+data/images.safetensors", clone.dvc("status", "train"))
    finally:
        labels.write_bytes(content)
        clone.dvc("repro", "download")
    assert clone.git("status", "--porcelain") == ""


@pytest.mark.slow
def test_the_fast_recipe_learns_all_of_mnist(tmp_path, mnist_file):
    clone = copy_of_this_repository(tmp_path / "clone", {})
    shutil.copy(mnist_file, clone.folder / DATA)
    clone.run("lifline", "preset", "fast")
    assert "data/images.safetensors: MNIST, 60,000 training" in clone.dvc("repro", "evaluate")
    assert clone.json("reports/evaluation.json")["accuracy"] > 0.98


def kill_after_an_epoch(clone):
    """Start a forced `dvc repro`, and kill it and the training that it runs once there is a checkpoint."""
    repro = subprocess.Popen(
        ["dvc", "repro", "--force"], cwd=clone.folder, env=clone.environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not list(clone.folder.glob(".checkpoints/*.safetensors")) and repro.poll() is None:
        time.sleep(0.01)
    with suppress(ProcessLookupError):
        os.killpg(repro.pid, signal.SIGKILL)
    repro.wait()
