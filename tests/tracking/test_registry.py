import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow.entities import LoggedModelStatus

from lifline.errors import RegistryError
from lifline.tracking import runs as tracking
from lifline.tracking.registry import read_onnx
from tests.conftest import assert_one_line_error
from tests.tracking.runs import all_runs, free_port, tiny_onnx

URI = "models:/lifline@champion"


def test_each_exported_model_is_a_version_with_its_card_once(store, export):
    assert [export(0.9), export(0.9), export(0.8, brightness=2)] == ["1", "1", "2"]
    versions = store.search_model_versions("name = 'lifline'")
    assert {version.tags["test_accuracy"] for version in versions} == {"0.9", "0.8"}
    assert {version.description for version in versions} == {"# A card"}
    for version in versions:
        run = store.get_run(version.run_id)
        assert version.tags["model_sha256"] == run.data.tags["model_sha256"]
        assert f"version {version.version}](#/models/lifline/versions/{version.version})" in description(run)


def test_a_card_that_is_too_long_loses_its_last_sections(store, export):
    sections = ["# A card", "\n## One\n" + "1" * 3000, "\n## Two\n" + "2" * 1900, "\n## Three\n" + "3" * 2000]
    export(0.9, card="\n".join(sections))
    assert store.get_model_version("lifline", "1").description == "\n".join(sections[:3])
    export(0.9, card="4" * 6000)
    assert store.get_model_version("lifline", "1").description == "4" * 5000


def description(run):
    return run.data.tags["mlflow.note.content"]


def test_a_training_that_makes_the_same_model_again_speaks_of_its_version(store, export, params):
    export(0.9)
    with tracking.training_run(params, "cpu") as run:
        run.tag_model(f"{1:064x}")
    assert "lifline, version 1]" in description(all_runs(store)[-1])
    assert export(0.9, card="# Another card") == "1"
    assert store.get_model_version("lifline", "1").description == "# Another card"


def test_a_version_that_is_registered_again_has_the_facts_of_then(store, export):
    """As after another estimate of energy, of the same files."""
    export(0.9)
    store.delete_model_version_tag("lifline", "1", "num_steps")  # as of a version of before there was such a fact
    assert export(0.9, energy=7_000.0) == "1"
    tags = store.get_model_version("lifline", "1").tags
    assert (tags["energy_nanojoules"], tags["num_steps"], tags["spikes_per_image"]) == ("7000.0", "10", "800.0")


def test_a_version_without_the_proof_is_refused(store, export, lifline):
    """export.max_class_mismatches may let a model pass that is not quite the network."""
    export(0.9, mismatches=1)
    code, _, err = lifline("champion")
    assert_one_line_error((code, err), "version 1 did not pass export's proof")
    assert lifline("champion", "--force")[0] == 0


def test_another_process_may_register_first(store, export, monkeypatch):
    store.create_registered_model("lifline")
    monkeypatch.setattr(mlflow.MlflowClient, "search_registered_models", lambda *arguments, **named: [])
    assert export(0.9) == "1"


def test_what_is_not_there_is_named(store, export, lifline):
    code, _, err = lifline("champion")
    assert_one_line_error((code, err), "no model lifline", "dvc repro")
    export(0.9)
    code, _, err = lifline("champion", "--version", "7")
    assert_one_line_error((code, err), "version is 7; allowed are 1")


def test_the_champion_loads_with_pyfunc_and_predicts(store, export, lifline):
    export(0.9)
    lifline("champion")
    image = np.random.default_rng(0).random((2, 1, 28, 28), dtype=np.float32)
    mlflow.set_tracking_uri(store.tracking_uri)
    outputs = mlflow.pyfunc.load_model(URI).predict({"image": image})
    assert outputs["class"].tolist() == image.reshape(2, -1).argmax(1).tolist()


def files_of(store, version):
    """The folder of a version's files."""
    return Path(store.get_model_version_download_uri("lifline", version).removeprefix("file://"))


def test_a_version_without_its_file_is_no_champion(store, export, lifline):
    export(0.9)
    export(0.95, brightness=2)
    (files_of(store, "2") / "model.onnx").unlink()
    for arguments in ([], ["--force"]):
        code, _, err = lifline("champion", "--version", "2", *arguments)
        assert_one_line_error((code, err), "version 2 has no ONNX file", "--version")
    assert lifline("champion", "--version", "1")[0] == 0
    shutil.rmtree(files_of(store, "1"))
    assert_one_line_error(lifline("champion", "--version", "1")[::2], "version 1 has no ONNX file")
    with pytest.raises(RegistryError, match=f"{URI} has no ONNX file"):
        read_onnx(URI)


def test_a_version_of_an_export_that_was_cut_short_is_no_champion(store, export, lifline):
    export(0.9)
    model_id = store.get_model_version("lifline", "1").source.removeprefix("models:/")
    store.finalize_logged_model(model_id, LoggedModelStatus.FAILED)
    assert_one_line_error(lifline("champion")[::2], "version 1 has no ONNX file")
    store.delete_logged_model(model_id)  # which leaves the files where they are
    assert lifline("champion")[0] == 0


def test_a_champion_that_is_gone_is_in_nobodys_way(store, export, lifline):
    export(0.9)
    lifline("champion")
    with closing(sqlite3.connect("mlflow.db")) as file, file:  # MLflow itself takes the alias away with the version
        file.execute("UPDATE registered_model_aliases SET version = 7")
    assert "models:/lifline@champion is version 1, test accuracy 90.00%. " in lifline("champion")[1]


def test_champion_compare_and_predict_need_no_experiment(store, export, lifline, monkeypatch):
    export(0.9)
    (run,) = all_runs(store)
    store.delete_experiment(run.info.experiment_id)
    assert lifline("champion")[0] == 0
    assert read_onnx(URI) == tiny_onnx().SerializeToString()
    assert_one_line_error(lifline("compare", run.info.run_id, "another")[::2], "there is no run")


@pytest.mark.parametrize(
    "arguments",
    [
        ["champion"],
        ["compare", "one", "another"],
        ["predict", "--model", URI, "7.png"],
        ["ui"],
    ],
)
def test_nothing_is_made_where_there_is_no_store_yet(workspace, lifline, arguments):
    before = set(workspace.iterdir())
    if arguments == ["ui"]:
        arguments = ["ui", "--port", str(free_port())]
    assert_one_line_error(
        lifline(*arguments)[::2], "no store", f"{workspace}/mlflow.db yet", "dvc repro --force --single-item export"
    )
    assert set(workspace.iterdir()) == before


def test_the_champions_file_is_had_by_its_uri(store, export, lifline):
    export(0.9)
    for uri in (URI, "models:/another/1", "models:/lifline/9", "models:/another/latest", "models:/m-0"):
        with pytest.raises(RegistryError, match=f"no model {uri}"):
            read_onnx(uri)
    for place in ("", "lifline@", "lifline/1/2", "../x/1", "lifline/Production", f"lifline/{10**22}"):
        with pytest.raises(RegistryError, match="allowed are models:/NAME@ALIAS"):
            read_onnx(f"models:/{place}")
    lifline("champion")
    logged_model = store.get_model_version("lifline", "1").source
    for uri in (URI, "models:/lifline/1", "models:/lifline/latest", logged_model):
        assert read_onnx(uri) == tiny_onnx().SerializeToString()
