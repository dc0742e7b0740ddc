import re
from types import SimpleNamespace

import mlflow
import pytest
import requests

from lifline.tracking import runs as tracking
from lifline.tracking.comparison import ComparedRun, have_different_data, have_different_tests
from tests.conftest import assert_one_line_error, changed
from tests.tracking.runs import all_runs


@pytest.fixture
def two_runs(store, params):
    """Two trainings, with another beta each."""
    for beta, accuracy in ((0.9, 0.97), (0.5, 0.91)):
        with tracking.training_run(changed(params, network={"beta": beta}), "cpu") as run:
            run.log_metrics({"test": {"accuracy": accuracy, "total": 10_000}, "system": {"cpu": accuracy}})
    return all_runs(store)


def rows(out):
    """What is shown of each param and metric, where all runs have it."""
    lines = [re.split("  +", line.strip()) for line in out.splitlines()]
    return {line[0]: line[1:] for line in lines if len(line) == 3}


def test_what_differs_is_shown_and_nothing_else(two_runs, lifline):
    one, two = two_runs
    code, out, err = lifline("compare", one.info.run_id, two.info.run_id)
    assert (code, err) == (0, "")
    assert rows(out).items() >= {"network.beta": ["0.9", "0.5"], "test/accuracy": ["0.97", "0.91 (-0.06)"]}.items()
    assert "tutorial: beta 0.9 " in out
    assert one.info.run_id[:8] in out


def test_a_run_is_known_by_the_beginning_of_its_id_by_its_name_and_by_its_experiments(
    two_runs, lifline, params, monkeypatch
):
    one, two = two_runs
    monkeypatch.setenv("DVC_EXP_NAME", "calm-heron")
    with tracking.training_run(params, "cpu"):
        pass
    for second in (two.info.run_id[:8], "tutorial: beta 0.5"):
        assert rows(lifline("compare", one.info.run_id, second)[1])["network.beta"] == ["0.9", "0.5"]
    for second in ("calm-heron", "calm-heron (tutorial)"):
        assert lifline("compare", one.info.run_id, second)[1].count("0.95") == 1


def test_what_a_run_does_not_have_is_left_empty(two_runs, lifline, params):
    with tracking.training_run(params, "cpu"):
        pass
    code, out, _ = lifline("compare", "tutorial", "tutorial: beta 0.5")
    assert code == 0
    (line,) = [line for line in out.splitlines() if line.startswith("  test/accuracy")]
    assert line.split() == ["test/accuracy", "0.91"]
    assert line.index("0.91") > len(line) / 2


def test_params_come_before_metrics_and_only_takes_what_has_its_text_in_the_name(two_runs, lifline):
    names = [run.info.run_id for run in two_runs]
    order = [line.split()[0] for line in lifline("compare", *names)[1].splitlines() if line.strip()]
    assert order[-4:] == ["params", "network.beta", "metrics", "test/accuracy"]
    assert rows(lifline("compare", *names, "--only", "beta")[1]).keys() == {"network.beta"}
    assert rows(lifline("compare", *names, "--only", "test", "--only", "beta")[1]).keys() == {
        "network.beta",
        "test/accuracy",
    }
    code, out, _ = lifline("compare", *names, "--only", "loss")
    assert (code, out) == (0, "the runs have the same params and metrics that have loss in their names\n")


def test_what_tells_of_health_and_speed_is_counted_and_shown_where_it_is_asked_for(two_runs, store, lifline):
    names = [run.info.run_id for run in two_runs]
    for name, value in zip(names, (3.0, 4.0), strict=True):
        for metric in ("train/health/dead", "train/health/silent", "speed/images_per_second", "test/ties"):
            store.log_metric(name, metric, value)
    out = lifline("compare", *names)[1]
    assert rows(out).keys() == {"network.beta", "test/accuracy", "test/ties"}
    assert out.splitlines()[-1] == (
        "left out: 3 metrics of train/health/ and speed/ that differ; --only health --only speed shows them"
    )
    out = lifline("compare", *names, "--only", "health")[1]
    assert rows(out).keys() == {"train/health/dead", "train/health/silent"}
    assert "left out" not in out


def test_losses_are_subtracted_where_they_are_the_same_loss_alone(store, params, lifline):
    for loss, value in (("rate_mse", 2.0), ("rate_mse", 3.0), ("count_ce", 9.0)):
        with tracking.training_run(changed(params, train={"loss": loss}), "cpu") as run:
            run.log_metrics({"train": {"loss": value}, "validation": {"loss_per_step": value, "accuracy": value / 10}})
    one, other, third = (run.info.run_id for run in all_runs(store))
    same = rows(lifline("compare", one, other)[1])
    assert (same["train/loss"], same["validation/loss_per_step"]) == (["2", "3 (+1)"], ["2", "3 (+1)"])
    unlike = rows(lifline("compare", one, third)[1])
    assert (unlike["train/loss"], unlike["validation/loss_per_step"]) == (["2", "9"], ["2", "9"])
    assert unlike["validation/accuracy"] == ["0.2", "0.9 (+0.7)"]


def test_a_run_that_did_not_finish_says_so(two_runs, store, lifline):
    one, two = (run.info.run_id for run in two_runs)
    store.update_run(two, status="KILLED")
    out = lifline("compare", one, two)[1]
    assert f"{two[:8]}, KILLED" in out
    assert f"{one[:8]}," not in out


def test_a_name_is_shown_as_it_is(two_runs, store, lifline):
    store.update_run(two_runs[0].info.run_id, name="[/b] odd [red]")
    code, out, _ = lifline("compare", "[/b] odd [red]", "tutorial: beta 0.5")
    assert code == 0
    assert "[/b] odd [red]" in out


def test_runs_that_are_alike_are_said_to_be(two_runs, lifline):
    assert lifline("compare", *2 * ["tutorial: beta 0.5"])[:2] == (0, "the runs have the same params and metrics\n")


def test_runs_that_differ_in_speed_alone_are_said_to(two_runs, store, lifline):
    one = two_runs[0]
    other = store.create_run(one.info.experiment_id, run_name="again")
    for name, value in one.data.params.items():
        store.log_param(other.info.run_id, name, value)
    for name, value in store.get_run(one.info.run_id).data.metrics.items():
        store.log_metric(other.info.run_id, name, value)
    store.log_metric(other.info.run_id, "speed/epoch_seconds", 9.0)
    store.set_terminated(other.info.run_id)
    assert lifline("compare", one.info.run_id, "again")[1].splitlines() == [
        "the runs have the same params and metrics but for those below",
        "left out: 1 metric of train/health/ and speed/ that differ; --only health --only speed shows them",
    ]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["tutorial: beta 0.9"], ["alone", "two runs or more"]),
        (["tutorial: beta 0.9", "nobody"], ["'nobody'", "allowed"]),
        (["tutorial: beta 0.9", "%"], ["'%'"]),
        (["tutorial: beta 0.9", '" or 1'], ["without quotes"]),
        (["tutorial: beta 0.9", "it's"], ["it's"]),
        (["tutorial: beta 0.9", ""], ["''"]),
        ([], ["RUN"]),
    ],
)
def test_a_run_that_cannot_be_is_named(two_runs, lifline, arguments, parts):
    code, _, err = lifline("compare", *arguments)
    assert_one_line_error((code, err), *parts)


def test_a_name_of_several_runs_is_told_with_their_ids(two_runs, lifline, params):
    with tracking.training_run(changed(params, network={"beta": 0.9}), "cpu"):
        pass
    code, _, err = lifline("compare", "tutorial: beta 0.9", two_runs[0].info.run_id)
    assert_one_line_error((code, err), "one of 2", f"{two_runs[0].info.run_id[:8]} FINISHED, of 20")


def test_of_runs_with_one_name_the_one_that_finished_is_taken(two_runs, store, lifline, params):
    one, two = (run.info.run_id for run in two_runs)
    with tracking.training_run(changed(params, network={"beta": 0.9}), "cpu") as run:
        pass
    store.update_run(one, status="KILLED")
    assert f"{run.run_id[:8]}  " in lifline("compare", "tutorial: beta 0.9", two)[1]
    store.update_run(run.run_id, status="KILLED")
    _, _, err = lifline("compare", "tutorial: beta 0.9", two)
    for each in (one, run.run_id):
        assert re.search(rf"{each[:8]} KILLED, of 20\d\d-\d\d-\d\d \d\d:\d\d", err)


def test_of_runs_with_one_beginning_of_an_id_none_is_taken(two_runs, store, lifline, monkeypatch):
    experiment, (one, two) = two_runs[0].info.experiment_id, two_runs
    ids = iter(("abcd" + "0" * 28, "abcd" + "1" * 28))
    monkeypatch.setattr("mlflow.store.tracking.sqlalchemy_store.uuid.uuid4", lambda: SimpleNamespace(hex=next(ids)))
    for status in ("FINISHED", "KILLED"):
        store.set_terminated(store.create_run(experiment, run_name=status).info.run_id, status)
    outcome = lifline("compare", "abcd", one.info.run_id)[::2]
    assert_one_line_error(outcome, "run 'abcd' is one of 2", "abcd0000 FINISHED", "abcd1111 KILLED")
    store.update_run(two.info.run_id, name="abcd")
    outcome = lifline("compare", "abcd", one.info.run_id)[::2]
    assert_one_line_error(outcome, "run 'abcd' is one of 3", "abcd0000 FINISHED", two.info.run_id[:8])


def test_a_number_that_no_version_has_is_no_run(two_runs, lifline):
    number = "9" * 23
    assert_one_line_error(lifline("compare", number, "tutorial: beta 0.5")[::2], f"there is no run '{number}'")


def test_a_version_stands_for_the_run_that_trained_it(export, lifline, store):
    export(0.9)
    export(0.8, brightness=2, dataset="pictures")
    ids = [store.get_model_version("lifline", version).run_id for version in ("2", "1")]
    out = lifline("compare", "2", "1")[1]
    assert out.index(ids[0][:8]) < out.index(ids[1][:8])
    assert_one_line_error(lifline("compare", "2", "3")[::2], "there is no run '3'")
    store.update_run(ids[0], name="1")
    assert "the same params" in lifline("compare", "2", "1")[1]


def test_where_there_is_no_such_run_the_nearest_names_are_told_or_else_the_latest(two_runs, store, lifline):
    def told(name):
        return lifline("compare", "tutorial: beta 0.9", name)[2].partition("versions; ")[2].strip()

    one, two = "tutorial: beta 0.9", "tutorial: beta 0.5"
    assert told("beta 0.5") == f"the nearest: {two!r}"
    assert told("tutoral: beta") in {f"the nearest: {one!r}, {two!r}", f"the nearest: {two!r}, {one!r}"}
    assert told("nobody") == f"the latest: {two!r}, {one!r}"
    for number in range(9):
        store.create_run(two_runs[0].info.experiment_id, run_name=f"another {number}")
    assert told("nobody").count("another") == 5


def test_two_runs_are_compared_image_by_image(two_runs, store, lifline, workspace):
    for run, right in zip(two_runs, (900, 950), strict=True):
        store.log_text(run.info.run_id, predictions(right), "predictions.csv")
    names = ["tutorial: beta 0.9", "tutorial: beta 0.5"]
    first, *_ = lifline("compare", *names)[1].splitlines()
    assert first.startswith("test images, the second against the first: +5.00 points (99% interval +3.")
    assert "50 images gained, 0 lost, of 1,000" in first
    store.log_text(two_runs[0].info.run_id, predictions(900, total=800), "predictions.csv")
    assert "test images" not in lifline("compare", *names)[1]


def test_a_long_name_is_a_title_of_several_lines(two_runs, store, lifline):
    name = "default: dataset fields.npz, layers 12C5-MP2-64C5-MP2, learning_rate 0.003, batch_size 32, epochs 20"
    store.update_run(two_runs[1].info.run_id, name=name)
    out = lifline("compare", "tutorial: beta 0.9", name)[1]
    table = out.partition("params")[0]
    assert max(map(len, table.splitlines())) < 120
    assert "".join(name.split()) in "".join(table.replace("tutorial: beta 0.9", "").split())


def test_of_different_data_sets_of_one_name_it_is_told(two_runs, store, lifline, workspace):
    def first_line():
        return lifline("compare", "tutorial: beta 0.9", "tutorial: beta 0.5", "--only", "beta")[1].splitlines()[0]

    for run in two_runs:
        store.log_text(run.info.run_id, predictions(900), "predictions.csv")
        store.set_tag(run.info.run_id, "data_sha256", "a" * 64)
    assert first_line().startswith("test images, the second against the first: +0.00 points")
    store.set_tag(two_runs[1].info.run_id, "data_sha256", "b" * 64)
    told = "the runs are of different data sets, whatever their names: what they measured cannot be compared"
    assert first_line() == told
    assert "the second against" not in lifline("compare", "tutorial: beta 0.9", "tutorial: beta 0.5")[1]
    store.delete_tag(two_runs[1].info.run_id, "data_sha256")
    assert "data sets" not in first_line()


@pytest.mark.parametrize(
    ("data", "tests", "told"),
    [
        ("aa", ["t", "t"], (False, False)),
        ("ab", ["t", "t"], (True, False)),
        ("ab", ["t", "u"], (True, True)),
        ("ab", [None, None], (True, True)),
        ("ab", [None, "t"], (True, True)),
        ("aab", ["t", None, "t"], (True, False)),
        ("aab", [None, "t", "t"], (True, False)),
        ("aba", ["t", "u", "t"], (True, True)),
        ([None, "a", "b"], [None, "t", "t"], (True, False)),
        ([None, "a"], [None, "t"], (False, False)),
    ],
)
def test_whether_runs_are_of_the_same_images_is_told_as_far_as_it_is_known(data, tests, told):
    runs = [ComparedRun("", "", {}, {}, "FINISHED", *each) for each in zip(data, tests, strict=True)]
    assert (have_different_data(runs), have_different_tests(runs)) == told


def test_what_learned_from_other_images_is_compared_by_the_same_test_images(two_runs, store, lifline):
    for run, data in zip(two_runs, "ab", strict=True):
        store.set_tag(run.info.run_id, "data_sha256", data * 64)
        store.set_tag(run.info.run_id, "test_sha256", "c" * 64)
        store.log_metric(run.info.run_id, "test/accuracy", 0.9 if data == "a" else 0.95)
        store.log_metric(run.info.run_id, "validation/accuracy", 0.9 if data == "a" else 0.95)
        store.log_metric(run.info.run_id, "export/onnx.class_mismatches", 1 if data == "a" else 3)
        for file in ("predictions.csv", "gate.csv"):
            store.log_text(run.info.run_id, predictions(900), file)
    told, evidence, *others = lifline("compare", "tutorial: beta 0.9", "tutorial: beta 0.5")[1].splitlines()
    assert told == "the runs learned from different images: only what they measured on the test images can be compared"
    assert evidence.startswith("test images, the second against the first: +0.00 points")
    assert "gate images" not in "".join(others)
    (test,) = (line for line in others if "test/accuracy" in line)
    (validation,) = (line for line in others if "validation/accuracy" in line)
    assert "(+0.05)" in test
    assert any("3 (+2)" in line for line in others if "class_mismatches" in line)
    assert "0.95" in validation
    assert "(" not in validation


def test_decisions_that_a_lost_server_does_not_give_are_no_missing_ones(two_runs, store, lifline, monkeypatch):
    def lost(*_, **__):
        raise requests.ConnectionError("Connection refused")

    for run in two_runs:
        store.log_text(run.info.run_id, "no,table", "predictions.csv")
    names = ["tutorial: beta 0.9", "tutorial: beta 0.5"]
    assert lifline("compare", *names)[0] == 0
    monkeypatch.setattr(mlflow.MlflowClient, "download_artifacts", lost)
    assert_one_line_error(lifline("compare", *names)[::2], "does not work", "Connection refused")


def test_two_runs_are_compared_on_the_images_that_were_held_out_for_it_too(two_runs, store, lifline, workspace):
    for run, right in zip(two_runs, (900, 950), strict=True):
        store.log_text(run.info.run_id, predictions(right), "predictions.csv")
        store.log_text(run.info.run_id, predictions(1_000 - right), "gate.csv")
    test, gate, *_ = lifline("compare", "tutorial: beta 0.9", "tutorial: beta 0.5")[1].splitlines()
    assert test.startswith("test images, the second against the first: +5.00 points")
    assert gate.startswith("gate images, the second against the first: -5.00 points")


def predictions(right, total=1_000):
    return "\n".join(["actual,predicted", *(f"7,{7 if image < right else 1}" for image in range(total))])
