"""The champion moves on evidence alone."""

from pathlib import Path

import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, TEMPORARILY_UNAVAILABLE

from lifline.tracking.registry import read_decisions_of
from tests.conftest import assert_one_line_error


def champion(store):
    return store.get_model_version_by_alias("lifline", "champion").version


def change(workspace, old, new):
    params = workspace / "params.yaml"
    params.write_text(params.read_text().replace(old, new))


def test_the_first_version_is_the_champion_without_a_comparison(store, export, lifline):
    export(0.9)
    code, out, _ = lifline("champion")
    assert code == 0
    assert out.startswith(
        "models:/lifline@champion is version 1, test accuracy 90.00%. Versions are chosen by the test"
    )
    assert lifline("champion")[:2] == (0, "version 1 is the champion already; no other is better\n")


def test_a_better_version_takes_its_place_and_says_on_what_evidence(store, export, lifline):
    export(0.9)
    lifline("champion")
    export(0.91, brightness=2, missed=20)
    code, out, _ = lifline("champion")
    assert code == 0
    assert (
        "is version 2, test accuracy 91.00%, after version 1: by the test images, version 2 is better than the "
        "champion: +1.00 points" in out
    )
    assert "120 images gained, 20 lost, of 10,000" in out
    assert champion(store) == 2


def test_luck_is_no_evidence(store, export, lifline):
    export(0.9)
    lifline("champion")
    export(0.901, brightness=2, missed=20)  # 30 images gained, 20 lost
    code, _, err = lifline("champion")
    assert_one_line_error(
        (code, err),
        "no evidence that version 2 is better",
        "p 0.2, exact McNemar",
        "images would tell it better",
        "--force",
    )
    assert champion(store) == 1
    export(0.9, brightness=3)
    assert_one_line_error(
        lifline("champion", "--version", "3")[::2], "no evidence that version 3", "+0.00 points", "p 1,"
    )
    export(0.899, brightness=4, missed=20)  # 20 images gained, 30 lost
    assert_one_line_error(
        lifline("champion", "--version", "4")[::2], "no evidence that version 4", "-0.10 points", "would tell it worse"
    )


def test_a_worse_version_is_told_to_be_worse(store, export, lifline):
    export(0.9)
    lifline("champion")
    export(0.89, brightness=2)
    code, _, err = lifline("champion", "--version", "2")
    assert_one_line_error((code, err), "version 2 is worse than the champion: -1.00 points")


def test_the_most_accurate_version_for_which_there_is_evidence_is_proposed(store, export, lifline):
    export(0.9)
    export(0.95, brightness=2, mismatches=1)
    export(0.92, brightness=3)
    export(0.91, brightness=4)
    assert "is version 3, test accuracy 92.00%" in lifline("champion")[1]
    export(0.9205, brightness=5, missed=20)
    export(0.88, brightness=6)
    assert_one_line_error(lifline("champion")[::2], "no evidence that version 5")
    export(0.9199, brightness=7, spikes=100.0)
    assert (
        "is version 7, test accuracy 91.99%, after version 3: by the test images, version 7 is cheaper"
        in lifline("champion")[1]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spikes", "lost", "takes_its_place"), [(700.0, 5, True), (730.0, 5, False), (700.0, 15, False), (900.0, 5, False)]
)
def test_a_cheaper_version_takes_its_place_if_it_is_hardly_worse(store, export, lifline, spikes, lost, takes_its_place):
    """champion.min_saving is a tenth of 800 spikes, champion.margin 20 of 10,000 images."""
    export(0.9)
    lifline("champion")
    export(0.9 - lost / 10_000, brightness=2, spikes=spikes)
    code, out, _ = lifline("champion")
    assert code == 0
    assert (champion(store) == 2) == takes_its_place
    assert ("version 2 is cheaper than the champion, and worse by 0.20% at most" in out) == takes_its_place


def test_evidence_for_the_best_of_many_is_stronger_than_for_one(store, export, lifline):
    """Of p 0.0076 by 27 images gained and 10 lost: enough for one of a level of 0.01, not for the best of three."""
    export(0.9)
    lifline("champion")
    export(0.9017, brightness=2, missed=10)
    export(0.89, brightness=3)
    export(0.88, brightness=4)
    assert_one_line_error(lifline("champion")[::2], "no evidence that version 2", "99.67% interval")
    assert "is version 2" in lifline("champion", "--version", "2")[1]


@pytest.mark.slow
def test_what_the_champion_decided_is_read_once(store, export, lifline, monkeypatch):
    """The store is locked meanwhile, and a server may be far."""
    export(0.9)
    lifline("champion")
    for brightness in (2, 3, 4):
        export(0.9 - brightness / 100, brightness=brightness)
    read = []

    def noted(client, version, file):
        read.append(version.version)
        return read_decisions_of(client, version, file)

    monkeypatch.setattr("lifline.tracking.champion.read_decisions_of", noted)
    lifline("champion")
    assert sorted(read) == [1, 2, 3, 4]


@pytest.mark.slow
def test_params_say_what_is_cheaper_and_what_is_evidence(store, export, lifline, workspace):
    export(0.9)
    lifline("champion")
    export(0.9, brightness=2, spikes=10.0)
    change(workspace, "cost: spikes", "cost: steps")
    assert_one_line_error(lifline("champion", "--version", "2")[::2], "no evidence", "steps +0%")
    export(0.9, brightness=4, energy=4_000.0)
    change(workspace, "cost: steps", "cost: energy")
    assert_one_line_error(lifline("champion", "--version", "2")[::2], "no evidence", "energy +0%")
    assert "version 3 is cheaper than the champion, and worse by 0.20% at most" in lifline("champion")[1]
    export(0.9010, brightness=3, missed=20)
    change(workspace, "level: 0.01", "level: 0.25")
    assert lifline("champion", "--version", "4")[0] == 0


def test_versions_on_other_images_cannot_be_compared(store, export, lifline, monkeypatch):
    export(0.9)
    lifline("champion")
    monkeypatch.setattr("tests.tracking.conftest.NUM_IMAGES", 5_000)
    export(0.95, brightness=2)
    assert_one_line_error(lifline("champion")[::2], "version 2 and the champion, version 1, cannot be compared")
    monkeypatch.setattr("tests.tracking.conftest.decisions", lambda *_: b"no,table\n1,2,3")
    export(0.95, brightness=3)
    assert_one_line_error(lifline("champion")[::2], "version 3 and the champion, version 1, cannot be compared")
    assert champion(store) == 1


def test_a_version_without_its_decisions_cannot_be_compared(store, export, lifline):
    export(0.9)
    lifline("champion")
    export(0.95, brightness=2)
    files = Path(store.get_model_version_download_uri("lifline", "2").removeprefix("file://"))
    (files / "predictions.csv").unlink()
    assert_one_line_error(lifline("champion")[::2], "version 2 and the champion, version 1, cannot be compared")


LOST = [requests.ConnectionError("Connection refused"), MlflowException("API request failed: 503")]


@pytest.mark.parametrize("error", LOST, ids=lambda error: type(error).__name__)
def test_decisions_that_a_lost_server_does_not_give_are_its_fault_not_the_versions(
    store, export, lifline, monkeypatch, error
):
    def lost(*_, **__):
        raise error

    export(0.9)
    lifline("champion")
    export(0.95, brightness=2)
    monkeypatch.setattr("mlflow.artifacts.download_artifacts", lost)
    assert_one_line_error(lifline("champion")[::2], "mlflow.db does not work", str(error))


def test_a_version_of_another_data_set_cannot_be_compared_though_its_labels_are_alike(store, export, lifline):
    export(0.9)
    lifline("champion")
    export(0.95, brightness=2, data="others", dataset="data/pictures")
    outcome = lifline("champion", "--version", "2")[::2]
    assert_one_line_error(
        outcome, "version 2 is of another data set ('pictures') than the champion, version 1 ('mnist')", "--force makes"
    )
    assert "dvc repro" not in outcome[1]
    assert lifline("champion", "--version", "2", "--force")[0] == 0
    assert champion(store) == 2


def test_the_best_is_sought_among_the_champions_data_set_and_what_is_left_out_is_told(store, export, lifline):
    export(0.9)
    lifline("champion")
    export(0.99, brightness=2, data="others", dataset="pictures")
    export(0.98, brightness=3, data="others", dataset="pictures")
    export(0.97, brightness=4, data="clothes", dataset="fashion")
    told = "; left out, as they cannot be compared with version {} ('mnist'): 1 of 'fashion', 2 of 'pictures'"
    left_out = f"{told.format(1)}; `lifline champion --version N --force` takes one that was left out"
    assert lifline("champion")[:2] == (0, f"version 1 is the champion already; no other is better{left_out}\n")
    export(0.901, brightness=5, missed=20)
    assert_one_line_error(lifline("champion")[::2], "no evidence that version 5", left_out)
    export(0.92, brightness=6)
    code, out, _ = lifline("champion")
    assert (code, champion(store)) == (0, 6)
    assert left_out in out
    assert "left out" not in lifline("champion", "--version", "6")[1]


def test_only_versions_of_the_same_data_share_the_level(store, export, lifline):
    """Of p 0.0076, as above: the best of one, whatever there is of other data."""
    export(0.9)
    lifline("champion")
    export(0.9017, brightness=2, missed=10)
    export(0.89, brightness=3, data="others", dataset="pictures")
    export(0.88, brightness=4, data="others", dataset="pictures")
    assert "is version 2" in lifline("champion")[1]


def test_data_that_has_changed_under_its_name_is_other_data(store, export, lifline):
    export(0.9)
    lifline("champion")
    export(0.95, brightness=2, data="others")
    assert "cannot be compared with version 1 ('mnist'): 1 of 'mnist' with other images; " in lifline("champion")[1]


def test_who_learned_from_other_images_is_judged_by_the_same_test_images(store, export, lifline):
    export(0.9, test="as before")
    lifline("champion")
    export(0.95, brightness=2, data="with mended labels", test="as before")
    code, out, _ = lifline("champion")
    assert (code, champion(store)) == (0, 2)
    assert "by the test images, version 2 is better than the champion" in out
    assert "left out" not in out


def test_a_version_that_does_not_tell_its_test_images_is_compared_with_those_of_the_same_data(store, export, lifline):
    """One of an earlier lifline."""
    export(0.9, test="as before")
    store.delete_model_version_tag("lifline", "1", "test_sha256")
    lifline("champion")
    export(0.95, brightness=2, data="with mended labels", test="as before")
    assert "`dvc repro --force --single-item export` registers" in lifline("champion")[1]
    assert_one_line_error(
        lifline("champion", "--version", "2")[::2],
        "version 2 is of another data set ('mnist' with other images)",
        "`dvc repro --force --single-item export` registers",
    )
    export(0.95, brightness=3, test="as before")
    assert "is version 3" in lifline("champion")[1]


def test_images_that_are_held_out_of_others_are_others(store, export, lifline):
    export(0.9, test="as before", gate=0.9)
    lifline("champion")
    export(0.95, brightness=2, data="with mended labels", test="as before", gate=0.95)
    assert "cannot be compared with version 1 ('mnist'): 1 of 'mnist' with other images; " in lifline("champion")[1]


@pytest.mark.parametrize(
    ("without", "told", "which"),
    [
        (["2"], "version 1 ('mnist'): 1 of 'mnist' with unknown images; `dvc repro`", "version 2"),
        pytest.param(
            ["1"],
            "version 1 ('mnist' with unknown images): 1 of 'mnist'; `dvc repro`",
            "the champion",
            marks=pytest.mark.slow,
        ),
        (["1", "2"], "version 1 ('mnist' with unknown images): 1 of 'mnist' with unknown images; `dvc repro`", "each"),
    ],
)
def test_versions_that_do_not_tell_their_images_cannot_be_compared(store, export, lifline, without, told, which):
    """Those of an earlier lifline have no such tags."""
    export(0.9)
    lifline("champion")
    export(0.95, brightness=2)
    for version in without:
        for tag in ("data_sha256", "test_sha256"):
            store.delete_model_version_tag("lifline", version, tag)
    assert f"left out, as they cannot be compared with {told}" in lifline("champion")[1]
    assert_one_line_error(
        lifline("champion", "--version", "2")[::2],
        f"version 2 and the champion, version 1, cannot be compared: {which} is of unknown images; `dvc repro`",
    )
    assert champion(store) == 1


def test_a_first_version_that_does_not_tell_its_images_may_be_the_champion(store, export, lifline):
    export(0.9)
    store.delete_model_version_tag("lifline", "1", "data_sha256")
    assert "is version 1, test accuracy 90.00%" in lifline("champion")[1]


def test_a_lost_server_is_no_unknown_data(store, export, lifline, monkeypatch):
    export(0.9)
    export(0.8, brightness=2, data="others", dataset="pictures")

    def failing(code):
        def fail(*_):
            raise MlflowException("API request failed: 503", code)

        monkeypatch.setattr("mlflow.MlflowClient.get_run", fail)

    failing(TEMPORARILY_UNAVAILABLE)
    for command in ("champion", "versions"):
        assert_one_line_error(lifline(command)[::2], "does not work", "503")
    failing(RESOURCE_DOES_NOT_EXIST)
    assert "a run that is gone" in lifline("versions")[1]
    assert "with version 2 (unknown data): 1 of unknown data with other images" in lifline("champion")[1]


@pytest.mark.slow
def test_each_run_is_looked_up_once(store, export, lifline, monkeypatch):
    for brightness in (1, 2, 3):
        export(0.9, brightness=brightness, data=f"images {brightness}")
    looked_up, get_run = [], MlflowClient.get_run

    def noted(client, run_id):
        looked_up.append(run_id)
        return get_run(client, run_id)

    monkeypatch.setattr(MlflowClient, "get_run", noted)
    lifline("versions")
    assert len(looked_up) == 3


def test_the_first_champion_is_of_the_data_set_of_the_params(store, export, lifline, workspace):
    export(0.9)
    export(0.8, brightness=2)
    export(0.99, brightness=3, data="others", dataset="data/pictures")
    out = lifline("champion")[1]
    assert "is version 1, test accuracy 90.00%" in out
    assert (
        "left out, as they cannot be compared with version 2 ('mnist'): 1 of 'pictures'; "
        "`lifline champion --version N --force` takes one that was left out" in out
    )
    store.delete_registered_model_alias("lifline", "champion")
    change(workspace, "dataset: mnist", "dataset: data/pictures")
    assert "is version 3, test accuracy 99.00%" in lifline("champion")[1]


def test_without_a_version_of_the_params_data_set_one_of_several_is_asked_for(store, export, lifline, workspace):
    export(0.9)
    export(0.99, brightness=2, data="others", dataset="pictures")
    change(workspace, "dataset: mnist", "dataset: fashion")
    assert_one_line_error(
        lifline("champion")[::2],
        "no version is of data.dataset 'fashion', but of 'mnist' and 'pictures'",
        "`lifline champion --version N` takes one",
    )
    assert lifline("champion", "--version", "1")[0] == 0


def test_versions_of_one_data_set_alone_need_no_question(store, export, lifline, workspace):
    export(0.9)
    change(workspace, "dataset: mnist", "dataset: fashion")
    assert "is version 1, test accuracy 90.00%" in lifline("champion")[1]


def test_of_equally_accurate_versions_the_cheaper_is_taken(store, export, lifline, workspace):
    export(0.9, spikes=878.0, energy=9_000.0)
    export(0.9, brightness=2, spikes=3_646.0, energy=1_000.0)
    export(0.9, brightness=3, spikes=1.0, energy=1.0)
    store.delete_model_version_tag("lifline", "3", "spikes_per_image")
    store.delete_model_version_tag("lifline", "3", "energy_nanojoules")
    assert "is version 1, test accuracy 90.00%" in lifline("champion")[1]
    store.delete_registered_model_alias("lifline", "champion")
    change(workspace, "cost: spikes", "cost: energy")
    assert "is version 2, test accuracy 90.00%" in lifline("champion")[1]


def test_where_images_were_held_out_for_it_they_decide_and_the_test_accuracy_has_no_caveat(store, export, lifline):
    export(0.9, gate=0.9)
    assert lifline("champion")[1] == "models:/lifline@champion is version 1, test accuracy 90.00%.\n"
    export(0.89, brightness=2, gate=0.91)
    code, out, _ = lifline("champion")
    assert code == 0
    assert "by the gate images, version 2 is better than the champion: +1.00 points" in out
    assert "too high" not in out + lifline("versions")[1]
    export(0.95, brightness=3, gate=0.9)
    assert "version 2 is the champion already" in lifline("champion")[1]
    outcome = lifline("champion", "--version", "3")[::2]
    assert_one_line_error(outcome, "by the gate images, version 3 is worse than the champion")


def test_versions_with_and_without_such_images_cannot_be_compared(store, export, lifline):
    export(0.9)
    lifline("champion")
    export(0.95, brightness=2, gate=0.95)
    assert_one_line_error(
        lifline("champion", "--version", "2")[::2],
        "version 2 and the champion, version 1, cannot be compared: data.gate_size is 10000 of version 2, and 0 of the",
    )
    assert "too high" in lifline("versions")[1]


def test_versions_with_as_many_such_images_alone_share_the_level_and_the_others_are_counted(store, export, lifline):
    """Of p 0.0076, as above: the best of one."""
    export(0.9)
    lifline("champion")
    export(0.9017, brightness=2, missed=10)
    export(0.89, brightness=3, gate=0.95)
    export(0.88, brightness=4, gate=0.95)
    out = lifline("champion")[1]
    assert "is version 2" in out
    assert (
        "left out, as they cannot be compared with version 1 ('mnist'): 2 of 'mnist' with data.gate_size 10000, not 0;"
        in out
    )


def test_force_is_recorded(store, export, lifline):
    export(0.9)
    lifline("champion")
    export(0.8, brightness=2)
    code, out, _ = lifline("champion", "--version", "2", "--force")
    assert code == 0
    assert "by force: by the test images, version 2 is worse than the champion" in out
    assert champion(store) == 2
    assert "is worse" in store.get_model_version("lifline", "2").tags["champion_by_force"]
    assert lifline("champion", "--version", "1")[0] == 0
    assert "champion_by_force" not in store.get_model_version("lifline", "1").tags


@pytest.mark.parametrize("accuracy", ["nan", "good", None])
def test_a_version_without_an_accuracy_is_refused(store, export, lifline, accuracy):
    export(0.95)
    store.delete_model_version_tag("lifline", "1", "test_accuracy")
    if accuracy:
        store.set_model_version_tag("lifline", "1", "test_accuracy", accuracy)
    assert_one_line_error(lifline("champion")[::2], "version 1 has no test accuracy")


def test_versions_are_listed_the_newest_first(store, export, lifline):
    code, out, _ = lifline("versions")
    assert (code, out.count("\n")) == (0, 1)
    assert "there is no version; `dvc repro` trains and registers" in out
    export(0.9)
    lifline("champion")
    export(0.95, brightness=2, mismatches=3, spikes=1234.5)
    code, out, _ = lifline("versions")
    assert code == 0
    _, second, first, caveat = out.splitlines()
    assert second.split()[0] == "2"
    assert second.split()[-4:] == ["95.00%", "1,234", "10", "failed"]
    assert first.split()[:2] == ["1", "champion"]
    assert first.split()[-4:] == ["90.00%", "800", "10", "passed"]
    assert "too high" in caveat
    store.delete_model_version_tag("lifline", "1", "spikes_per_image")
    assert "nan" not in lifline("versions")[1]


def test_each_version_is_listed_with_its_data_set_within_120_columns(store, export, lifline):
    export(0.9)
    export(0.8, brightness=2, data="others", dataset="data/pictures")
    export(0.8, brightness=3)
    for version, name in (("2", "a recipe, " * 10), ("3", "gone")):
        run_id = store.get_model_version("lifline", version).run_id
        store.update_run(run_id, name=name)
    store.delete_run(run_id)
    out = lifline("versions")[1]
    header, *lines = out.splitlines()[:-1]
    place = header.index("data")
    rows = {line.split()[0]: line[place:].split()[0] for line in lines if line[0].isdigit()}
    assert rows == {"3": "mnist", "2": "pictures", "1": "mnist"}
    assert max(map(len, (header, *lines))) <= 120
