"""`lifline seeds`: one recipe, many seeds, one MLflow parent."""

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from statistics import fmean, median, stdev

import mlflow
import pytest
import torch

from benchmarks.reseeds import packed
from lifline.data.datasets import load_dataset
from lifline.experiments import seeds
from lifline.experiments.fingerprint import fingerprint
from lifline.experiments.seeds import SeedResult, summarize
from lifline.params import read_params
from lifline.paths import DATA, EVALUATION, MODEL, PREDICTIONS
from lifline.presets import change_params
from lifline.system.files import sha256_of
from lifline.system.locks import locked
from tests.tracking.runs import wait_for


@pytest.fixture
def command(workspace, lifline):
    return partial(lifline, "seeds")


def runs(workspace):
    """The parents, and the children by their parent's id."""
    client = mlflow.MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("lifline-seeds")
    every = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"])
    parents = [run for run in every if "mlflow.parentRunId" not in run.data.tags]
    return parents, {
        parent.info.run_id: [run for run in every if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
        for parent in parents
    }


def test_seeds_are_trained_evaluated_and_tracked_under_one_parent(workspace, command, lifline, stage):
    code, out, err = command("3")
    assert (code, err) == (0, "")
    written = json.loads((workspace / "reports/seeds.json").read_text())
    accuracies = [result["test_accuracy"] for result in written["seeds"]]
    assert [result["seed"] for result in written["seeds"]] == [42, 43, 44]
    assert len(set(accuracies)) > 1
    assert written["params"]["network.num_steps"] == 4
    assert written["test_accuracy"] == {
        "mean": pytest.approx(fmean(accuracies)),
        "standard_deviation": pytest.approx(stdev(accuracies)),
        "median": median(accuracies),
        "min": min(accuracies),
        "max": max(accuracies),
    }
    told = [line for line in out.splitlines() if line.startswith("seed ")]
    assert [line.partition(": validation")[0] for line in told] == [
        "seed 42, 1 of 3", "seed 42", "seed 43, 2 of 3", "seed 43", "seed 44, 3 of 3", "seed 44",
    ]  # fmt: skip
    for accuracy in accuracies:
        assert f"test {accuracy:.2%}" in out
    assert f"median {median(accuracies):.2%}" in out

    (parent,), children = runs(workspace)
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["test/accuracy_median"] == median(accuracies)
    children = children[parent.info.run_id]
    assert [run.data.params["train.seed"] for run in children] == ["42", "43", "44"]
    assert [run.data.metrics["test/accuracy"] for run in children] == accuracies
    assert {run.info.status for run in children} == {"FINISHED"}
    assert parent.info.run_name == "seeds of tutorial: layers 20, num_steps 4, validation_size 500"
    for run in children:
        assert f"[{run.info.run_name}](#/experiments/" in parent.data.tags["mlflow.note.content"]
        assert f"/runs/{parent.info.run_id})." in run.data.tags["mlflow.note.content"]
    assert f"**{median(accuracies):.2%}** (median;" in parent.data.tags["mlflow.note.content"]

    assert stage("train")[0] == stage("evaluate")[0] == 0  # the pipeline gives what the first seed gave
    assert json.loads(EVALUATION.read_text())["accuracy"] == accuracies[0]
    assert children[0].data.tags["model_sha256"] == sha256_of(MODEL)
    store = mlflow.MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    decided = store.download_artifacts(children[0].info.run_id, PREDICTIONS.name, str(workspace))
    assert Path(decided).read_bytes() == PREDICTIONS.read_bytes()

    rows = PREDICTIONS.read_text().splitlines()[1:]
    kept = json.loads(packed(store))["seeds"]
    assert [each["seed"] for each in kept] == [42, 43, 44]
    assert kept[0]["wrong"] == [image for image, row in enumerate(rows) if len(set(row.split(","))) == 2]
    spikes = json.loads(EVALUATION.read_text())["spikes_per_image"]
    assert kept[0]["spikes_per_image"] == pytest.approx(sum(spikes.values()), abs=1e-3)

    ids = [run.info.run_id for run in children[:2]]
    code, out, err = lifline("compare", *ids)
    assert (code, err) == (0, "")
    assert "test images, the second against the first: " in out


def test_what_is_held_out_for_the_champion_is_decided_on(workspace, command):
    change_params({"data.gate_size": 100})
    assert command("1")[0] == 0
    (parent,), children = runs(workspace)
    store = mlflow.MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    (child,) = children[parent.info.run_id]
    rows = Path(store.download_artifacts(child.info.run_id, "gate.csv", str(workspace))).read_text().splitlines()
    assert [int(row.split(",")[0]) for row in rows[1:]] == load_dataset(DATA).train.labels[900:1000].tolist()


def test_interrupted_it_goes_on_and_a_greater_count_adds(workspace, command, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    assert command("1")[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr(seeds, "evaluate", interrupted)
        code, _, err = command("2")
        assert (code, err) == (130, "error: interrupted; the same command goes on\n")
    (parent,), children = runs(workspace)
    assert parent.info.status == "KILLED"
    assert [run.info.status for run in children[parent.info.run_id]] == ["FINISHED", "KILLED"]
    code, out, _ = command("2")
    assert code == 0
    assert "seed 42, " not in out
    assert "goes on after epoch 1" in out
    (parent,), children = runs(workspace)
    assert parent.info.status == "FINISHED"
    assert [run.info.status for run in children[parent.info.run_id]] == ["FINISHED", "KILLED", "FINISHED"]
    assert len(json.loads((workspace / "reports/seeds.json").read_text())["seeds"]) == 2
    assert not list((workspace / ".checkpoints").iterdir())


def test_a_checkpoint_of_a_seed_that_is_done_is_removed(workspace, command):
    """A kill came between the end of its run and that of its checkpoint."""
    assert command("1")[0] == 0
    path = (
        workspace
        / f".checkpoints/{fingerprint(read_params(), load_dataset(DATA).sha256, torch.device('cpu'))[:16]}.safetensors"
    )
    path.write_bytes(b"left over")
    assert command("1")[0] == 0
    assert not list(path.parent.iterdir())


def test_the_same_seeds_twice_at_once_are_refused(workspace, command):
    recipe = fingerprint(read_params().with_values({"train.seed": 0}), load_dataset(DATA).sha256, torch.device("cpu"))
    with locked(workspace / ".checkpoints" / f"seeds-{recipe[:16]}.lock"):
        code, _, err = command("1")
    assert code == 2
    assert "another process trains these seeds" in err


def test_what_is_measured_anew_counts_not_what_an_earlier_run_of_the_same_model_has(workspace, command, monkeypatch):
    """As after a change of the evaluation, which trains the same model."""
    assert command("1")[0] == 0
    monkeypatch.setattr("lifline.experiments.fingerprint._code_sha256", lambda: "other code")
    monkeypatch.setattr("lifline.evaluation.evaluate.Evaluation.accuracy", lambda *_: 0.125)
    assert command("1")[0] == 0
    parents, children = runs(workspace)
    assert children[parents[1].info.run_id][0].data.metrics["test/accuracy"] == 0.125


@pytest.mark.slow
def test_after_a_sigkill_the_same_command_goes_on(workspace):
    change_params({"train.epochs": 25})
    arguments = [sys.executable, "-c", "from lifline.cli import main; main()", "seeds", "2"]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    wait_for(lambda: list(workspace.glob(".checkpoints/*.safetensors")), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert "goes on after epoch" in done.stdout
    (parent,), children = runs(workspace)
    assert parent.info.status == "FINISHED"
    assert [run.info.status for run in children[parent.info.run_id]] == ["KILLED", "FINISHED", "FINISHED"]


def test_another_recipe_has_a_parent_of_its_own(workspace, command):
    assert command("1")[0] == 0
    change_params({"train.learning_rate": 0.002})
    assert command("1", "--output", "reports/other.json")[0] == 0
    parents, _ = runs(workspace)
    assert len(parents) == 2
    assert (workspace / "reports/other.json").is_file()


@pytest.mark.parametrize("count", ["0", "-1", "1001"])
def test_a_count_out_of_range_is_refused(command, count):
    code, out, err = command("--", count)
    assert (code, out, err) == (2, "", f"error: COUNT is {count}; allowed is a whole number from 1 to 1000\n")


@pytest.mark.parametrize("arguments", [["many"], ["1.5"], []])
def test_what_is_no_count_is_refused(command, arguments):
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert "COUNT" in err
    assert err.count("\n") == 1


def test_seeds_beyond_the_greatest_are_refused(command):
    change_params({"train.seed": 2**32 - 1})
    code, _, err = command("2")
    assert (code, err) == (2, "error: train.seed is 4294967296; allowed is a whole number from 0 to 4294967295\n")


def test_one_seed_has_no_spread():
    assert summarize([SeedResult(1, 0.9, 0.8)])["test_accuracy"] == {
        "mean": 0.8, "median": 0.8, "min": 0.8, "max": 0.8,
    }  # fmt: skip
