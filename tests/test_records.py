import json
from math import sqrt
from statistics import fmean, stdev

import pytest
import torch

from benchmarks import ledger, record
from benchmarks.ledger import RECORDS, SeedResult, new_entry, p_value, write_entry
from lifline.data.datasets import load_dataset
from lifline.errors import LiflineError
from lifline.paths import DATA
from tests.conftest import SMALL, first
from tests.git import git

T_OF_LEVEL = 2.5395
"""Of 20 numbers, the t that luck exceeds once in a hundred: from any table of Student's distribution, 19 degrees."""


def accuracies(mean: float, deviation: float) -> list[float]:
    """20 numbers with this mean and sample deviation."""
    spread = deviation * sqrt(19 / 20)
    return [mean + spread, mean - spread] * 10


def results(mean: float, deviation: float = 4e-4) -> list[SeedResult]:
    return [
        SeedResult(seed, 10 + seed / 10, accuracy, [f"seed {seed}: told"])
        for seed, accuracy in enumerate(accuracies(mean, deviation), start=1)
    ]


def entry_of(seeds: list[SeedResult], recipe: str = "quick") -> dict:
    return new_entry(
        recipe, {"network.layers": "20"}, seeds, "2030-01-02", f"python -m benchmarks record {recipe}", "0" * 40
    )


def test_the_test_is_students_of_the_mean_against_99_percent():
    for deviation in (1e-4, 1e-3):
        for t, is_below in ((T_OF_LEVEL - 0.001, False), (T_OF_LEVEL + 0.001, True)):
            p = p_value(accuracies(0.99 + t * deviation / sqrt(20), deviation))
            assert p == pytest.approx(0.01, abs=1e-4)
            assert (p < 0.01) is is_below
    assert p_value(accuracies(0.99, 1e-3)) == pytest.approx(0.5)
    assert p_value(accuracies(0.98, 1e-3)) > 0.99


@pytest.mark.parametrize(("mean", "deviation"), [(0.99, 4e-4), (0.9902, 4e-4), (0.9895, 1e-5), (0.992, 4e-3)])
def test_what_may_be_luck_is_no_entry(mean, deviation):
    with pytest.raises(LiflineError, match=r"quick is no record: mean test accuracy .* with p below 0.01"):
        entry_of(results(mean, deviation))


def test_an_entry_and_its_log_are_written_and_the_table_of_all_is_renewed(tmp_path):
    (tmp_path / "README.md").write_text("Rules.\n\n" + ledger.table(tmp_path))
    for recipe, mean in (("quick", 0.9905), ("slow", 0.9915)):
        path = write_entry(tmp_path, entry_of(results(mean), recipe), ["seed 1: told", "seed 2: told"])
    assert path.with_suffix(".log").read_text() == "seed 1: told\nseed 2: told\n"
    entry = json.loads(path.read_text())
    assert entry["seconds"]["mean"] == pytest.approx(11.05)
    assert entry["test_accuracy"]["mean"] == pytest.approx(0.9915)
    assert [each["seed"] for each in entry["seeds"]] == list(range(1, 21))
    lines = (tmp_path / "README.md").read_text().splitlines()
    assert lines[0] == "Rules."
    assert ["**11.05** (10.10 to 12.00)" in line for line in lines[-2:]] == [True, True]
    assert "| slow |" in lines[-1]
    assert "99.150 ± 0.040" in lines[-1]
    assert len(lines) == 6


def test_the_ledgers_table_is_of_its_entries():
    assert (RECORDS / "README.md").read_text().endswith(ledger.table(RECORDS))


def test_entries_keep_the_rules():
    for path in sorted(RECORDS.glob("*.json")):
        entry, log = json.loads(path.read_text()), path.with_suffix(".log").read_text().splitlines()
        assert [each["seed"] for each in entry["seeds"]] == list(range(1, 21))
        accuracy = [each["test_accuracy"] for each in entry["seeds"]]
        assert (fmean(accuracy) - 0.99) / (stdev(accuracy) / sqrt(20)) > T_OF_LEVEL
        assert entry["seconds"]["mean"] == pytest.approx(fmean(each["seconds"] for each in entry["seeds"]))
        assert entry["machine"]["threads"] == 2
        for seed in entry["seeds"]:
            told = f"{seed['seconds']:.3f} s, accuracy {seed['test_accuracy']:.2%} on test images"
            assert f"seed {seed['seed']}: {told}" in log


def test_recipes_of_the_ledger_say_all_that_a_preset_says():
    for path in sorted(RECORDS.glob("*.yaml")):
        assert set(record.recipe_values(path)) == set(record.preset_values("fast"))
        assert record.recipe_params(path.stem).train.device == "cpu"


def test_an_unknown_recipe_is_told_with_those_that_there_are():
    with pytest.raises(LiflineError, match=r"recipe is 'nobody'; allowed is one of .*fast"):
        record.main(["nobody"])


@pytest.fixture
def small(workspace, params):
    """A small network's params, and a data set of a few images."""
    values = SMALL | {"train.epochs": 2, "train.device": "cpu"}
    return params.with_values(values), load_dataset(DATA)


def test_the_time_is_that_of_training_and_a_try_does_not_look_at_test_images(small, monkeypatch):
    params, dataset = small
    fit, reports = record.fit, []

    def noted(*arguments):
        for report in fit(*arguments):
            reports.append(report)
            yield report

    monkeypatch.setattr(record, "fit", noted)
    result = record.measure(params, dataset._replace(test=None), is_try=True)
    assert result.seconds == sum(report.seconds for report in reports)
    assert result.accuracy == reports[-1].validation_accuracy
    assert len(result.log) == 3

    state = record.new_training(params, dataset.info, record.CPU)
    list(fit(state, first(dataset.train, 1_000), first(dataset.train, 10), params))
    decided = state.network(dataset.test.images.float() / 255).spikes.sum(0).argmax(1)
    assert record.measure(params, dataset, is_try=False).accuracy == (decided == dataset.test.labels).float().mean()


def test_an_interrupted_record_goes_on_after_the_last_seed(small, tmp_path, monkeypatch):
    params, dataset = small
    folder = tmp_path / "records"
    folder.mkdir()
    (folder / "README.md").write_text(ledger.table(folder))
    measured = []

    def measure(params, _dataset, is_try):
        if len(measured) == 7 and not interrupted:
            interrupted.append(True)
            raise KeyboardInterrupt
        measured.append(params.train.seed)
        return results(0.9905)[params.train.seed - 1]

    interrupted: list[bool] = []
    monkeypatch.setattr(record, "measure", measure)
    monkeypatch.setattr(record, "_clean_commit", lambda _: "0" * 40)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    with pytest.raises(KeyboardInterrupt):
        record.enter("quick", params, dataset, folder)
    record.enter("quick", params, dataset, folder)
    assert measured == list(range(1, 21))
    (path,) = folder.glob("*.json")
    assert path.with_suffix(".log").read_text().count("told") == 20
    assert not list((tmp_path / ".checkpoints/records").glob("*.json"))


def test_an_entry_is_of_two_threads_and_of_a_commit(small, tmp_path, monkeypatch):
    params, dataset = small
    for arguments in (["init", "-q"], ["add", "params.yaml"], ["commit", "-qm", "first"]):
        git(tmp_path, *arguments)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    with pytest.raises(LiflineError, match="threads are 3; allowed is 2"):
        record.enter("quick", params, dataset, tmp_path)
    recipe = tmp_path / "benchmarks/records/quick.yaml"
    recipe.parent.mkdir(parents=True)
    recipe.touch()
    with pytest.raises(LiflineError, match=r"records/quick\.yaml is not in the commit"):
        record.enter("quick", params, dataset, tmp_path)
    git(tmp_path, "add", str(recipe))
    with pytest.raises(LiflineError, match=r"records/quick\.yaml differs from the commit"):
        record.enter("quick", params, dataset, tmp_path)
    git(tmp_path, "commit", "-qm", "a recipe")
    (tmp_path / "params.yaml").write_text("other")
    with pytest.raises(LiflineError, match=r"params\.yaml differs from the commit"):
        record.enter("quick", params, dataset, tmp_path)


def test_kernels_are_loaded_and_no_file_is_changed_before_a_try(small, monkeypatch, capsys):
    params, _ = small
    monkeypatch.setattr(record, "recipe_params", lambda name: params)
    record.main(["quick", "--try", "2"])
    told = capsys.readouterr().out
    assert [f"seed {seed} epoch {epoch}:" in told for seed in (1, 2, 3) for epoch in (1, 2)] == [True] * 4 + [False] * 2
    assert "on validation images; no entry" in told
