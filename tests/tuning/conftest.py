"""A study to be run, and `lifline` to run it with."""

import shutil

import pytest

from lifline.presets import change_params
from lifline.tuning import driver
from tests.conftest import changed, first
from tests.tuning.studies import NUM_IMAGES, SMALL_TRIALS


@pytest.fixture
def ready(workspace, new_store, training_images, monkeypatch):
    """A workspace with a space, short trials on few images, no figures, and a store that has its tables."""
    shutil.copy(new_store, workspace)
    few = first(training_images, NUM_IMAGES)
    monkeypatch.setattr(driver, "load_images", lambda *_: few)
    monkeypatch.setattr(driver, "draw_study", lambda _: {})
    space = "{network.beta: {low: 0.3, high: 0.99}, train.learning_rate: {low: 1.0e-3, high: 0.1, log: true}}"
    text = (workspace / "params.yaml").read_text()
    head, _, _ = text.partition("tune:")
    (workspace / "params.yaml").write_text(f"{head}tune:\n  epochs: 2\n  space: {space}\n")
    change_params(SMALL_TRIALS)
    return workspace


SPACE = {"network.beta": {"low": 0.3, "high": 0.99}, "train.learning_rate": {"low": 1e-3, "high": 0.1, "log": True}}


@pytest.fixture(scope="session")
def tuned(params):
    """Params with a space."""
    return changed(params, network={"beta": 0.9}, train={"learning_rate": 0.01}, tune={"epochs": 2, "space": SPACE})


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """An empty repository, for a journal."""
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def command(ready, lifline):
    return lifline
