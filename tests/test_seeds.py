"""`lifline seeds`: one recipe, many seeds, one MLflow parent."""

import json
from statistics import fmean, median, stdev

import mlflow
import pytest

from lifline import cli, seeds
from lifline.files import EVALUATION, MODEL, sha256_of
from lifline.params_file import change_params
from lifline.seeds import SeedResult, summarize


@pytest.fixture
def command(workspace, monkeypatch, capfd):
    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["lifline", "seeds", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, *capfd.readouterr()

    return run


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


def test_seeds_are_trained_evaluated_and_tracked_under_one_parent(workspace, command, stage):
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
    for accuracy in accuracies:
        assert f"test {accuracy:.2%}" in out
    assert f"median {median(accuracies):.2%}" in out

    (parent,), children = runs(workspace)
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["test_accuracy/median"] == median(accuracies)
    children = children[parent.info.run_id]
    assert [run.data.params["train.seed"] for run in children] == ["42", "43", "44"]
    assert [run.data.metrics["test/accuracy"] for run in children] == accuracies
    assert {run.info.status for run in children} == {"FINISHED"}

    assert stage("train")[0] == stage("evaluate")[0] == 0  # the pipeline gives what the first seed gave
    assert json.loads(EVALUATION.read_text())["accuracy"] == accuracies[0]
    assert children[0].data.tags["model_sha256"] == sha256_of(MODEL)


def test_interrupted_it_goes_on_and_a_greater_count_adds(workspace, command, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    assert command("1")[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr(seeds, "evaluate", interrupted)
        assert command("2")[0] == 130
    (parent,), children = runs(workspace)
    assert parent.info.status == "KILLED"
    assert [run.info.status for run in children[parent.info.run_id]] == ["FINISHED", "KILLED"]
    code, out, _ = command("2")
    assert code == 0
    assert "goes on after epoch 1" in out
    (parent,), children = runs(workspace)
    assert parent.info.status == "FINISHED"
    assert [run.info.status for run in children[parent.info.run_id]] == ["FINISHED", "KILLED", "FINISHED"]
    assert len(json.loads((workspace / "reports/seeds.json").read_text())["seeds"]) == 2
    assert not list((workspace / ".checkpoints").iterdir())


def test_another_recipe_has_a_parent_of_its_own(workspace, command):
    assert command("1")[0] == 0
    change_params({"train.learning_rate": 0.002})
    assert command("1", "--output", "reports/other.json")[0] == 0
    parents, _ = runs(workspace)
    assert len(parents) == 2
    assert (workspace / "reports/other.json").is_file()


@pytest.mark.parametrize("count", ["0", "-1", "many", "1.5"])
def test_a_count_that_is_none_is_refused(command, count):
    code, out, err = command(count)
    assert (code, out) == (2, "")
    assert "COUNT" in err


def test_seeds_beyond_the_greatest_are_refused(command):
    change_params({"train.seed": 2**32 - 1})
    code, _, err = command("2")
    assert (code, err) == (2, "error: train.seed is 4294967296; allowed is a whole number from 0 to 4294967295\n")


def test_one_seed_has_no_spread():
    assert summarize([SeedResult(1, 0.9, 0.8)])["test_accuracy"] == {
        "mean": 0.8, "standard_deviation": 0.0, "median": 0.8, "min": 0.8, "max": 0.8,
    }  # fmt: skip
