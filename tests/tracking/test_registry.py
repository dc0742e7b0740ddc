import mlflow
import numpy as np
import pytest

from lifline.errors import RegistryError
from lifline.tracking import runs as tracking
from lifline.tracking.registry import read_onnx, register
from tests.conftest import assert_one_line_error
from tests.tracking.runs import all_runs, tiny_onnx

URI = "models:/lifline@champion"


@pytest.fixture
def export(store, params):
    """Log and register a model as the stage does; equal brightness, equal model."""

    def run(accuracy, brightness=1, mismatches=0, card="# A card"):
        with tracking.run_of_model(f"{brightness:064x}", params):
            return register(tracking.log_onnx(tiny_onnx(brightness)), accuracy, mismatches, card)

    return run


def champion(store):
    return store.get_model_version_by_alias("lifline", "champion").version


def test_each_exported_model_is_a_version_with_its_card_once(store, export):
    assert [export(0.9), export(0.9), export(0.8, brightness=2)] == ["1", "1", "2"]
    versions = store.search_model_versions("name = 'lifline'")
    assert {version.tags["test_accuracy"] for version in versions} == {"0.9", "0.8"}
    assert {version.description for version in versions} == {"# A card"}
    for version in versions:
        run = store.get_run(version.run_id)
        assert version.tags["model_sha256"] == run.data.tags["model_sha256"]
        assert f"version {version.version}](#/models/lifline/versions/{version.version})" in description(run)


def description(run):
    return run.data.tags["mlflow.note.content"]


def test_a_training_that_makes_the_same_model_again_speaks_of_its_version(store, export, params):
    export(0.9)
    with tracking.training_run(params, "cpu"):
        tracking.tag_model(f"{1:064x}")
    assert "lifline, version 1]" in description(all_runs(store)[-1])
    assert export(0.9, card="# Another card") == "1"
    assert store.get_model_version("lifline", "1").description == "# Another card"


def test_the_champion_gives_way_to_its_equal_alone(store, export, lifline):
    export(0.9)
    code, out, _ = lifline("champion")
    assert (code, out) == (0, "models:/lifline@champion is version 1, test accuracy 90.00%\n")
    assert lifline("champion")[:2] == (0, "version 1 is the champion already\n")

    export(0.8999, brightness=2)
    code, _, err = lifline("champion")
    assert_one_line_error((code, err), "version 2", "89.99%", "version 1, has 90.00%", "--force")
    assert champion(store) == 1

    export(0.9, brightness=3)
    assert lifline("champion")[:2] == (
        0,
        "models:/lifline@champion is version 3, test accuracy 90.00%, after version 1\n",
    )
    assert champion(store) == 3


def test_force_is_recorded(store, export, lifline):
    export(0.9)
    lifline("champion")
    export(0.8, brightness=2)
    code, out, _ = lifline("champion", "--version", "2", "--force")
    assert code == 0
    assert "by force: version 2 has test accuracy 80.00%" in out
    assert champion(store) == 2
    assert "80.00%" in store.get_model_version("lifline", "2").tags["champion_by_force"]
    assert lifline("champion", "--version", "1")[0] == 0
    assert "champion_by_force" not in store.get_model_version("lifline", "1").tags


def test_a_version_without_the_proof_is_refused(store, export, lifline):
    """export.max_class_mismatches may let a model pass that is not quite the network."""
    export(0.9, mismatches=1)
    code, _, err = lifline("champion")
    assert_one_line_error((code, err), "version 1 did not pass export's proof")
    assert lifline("champion", "--force")[0] == 0


@pytest.mark.parametrize("accuracy", ["nan", "good", "0.8", None])
def test_an_accuracy_that_is_none_beats_nobody(store, export, lifline, accuracy):
    export(0.9)
    lifline("champion")
    export(0.95, brightness=2)
    store.delete_model_version_tag("lifline", "2", "test_accuracy")
    if accuracy:
        store.set_model_version_tag("lifline", "2", "test_accuracy", accuracy)
    assert_one_line_error(lifline("champion")[::2], "version 2 has ", "test accuracy")
    assert champion(store) == 1


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
    outputs = mlflow.pyfunc.load_model(URI).predict({"image": image})
    assert outputs["class"].tolist() == image.reshape(2, -1).argmax(1).tolist()


def test_the_champions_file_is_had_by_its_uri(store, export, lifline):
    export(0.9)
    for uri in (URI, "models:/another/1", "models:/lifline/9", "models:/m-0"):
        with pytest.raises(RegistryError, match=f"no model {uri}"):
            read_onnx(uri)
    for uri in ("models:/", "models:/lifline@", "models:/lifline/1/2", "models:/../x/1"):
        with pytest.raises(RegistryError, match="allowed are models:/NAME@ALIAS"):
            read_onnx(uri)
    lifline("champion")
    for uri in (URI, "models:/lifline/1", "models:/lifline/latest"):
        assert read_onnx(uri) == tiny_onnx().SerializeToString()
