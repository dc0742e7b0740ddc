"""A study to be run, and `lifline` to run it with."""

import shutil

import pytest

from lifline.data.datasets import save_dataset
from lifline.paths import DATA
from lifline.presets import change_params
from lifline.tuning import driver
from tests.conftest import MNIST, changed, first, once
from tests.tuning.studies import NUM_IMAGES, SMALL_TRIALS


@pytest.fixture(scope="session")
def fewer_images(tmp_path_factory, mnist):
    """A data set for trials, which has nothing to be tested on."""
    return once(
        tmp_path_factory,
        "fewer.safetensors",
        lambda path: save_dataset(MNIST, first(mnist.train, NUM_IMAGES), first(mnist.test, 0), path),
    )


@pytest.fixture
def ready(workspace, new_store, fewer_images, monkeypatch):
    """A workspace with a space, short trials on few images, no figures, and a store that has its tables."""
    shutil.copy(new_store, workspace)
    DATA.unlink()
    DATA.symlink_to(fewer_images)
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
