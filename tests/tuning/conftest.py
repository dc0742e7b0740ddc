"""A study to be run, and `lifline` to run it with."""

import shutil

import pytest

from lifline.presets import change_params
from lifline.tuning import driver
from tests.conftest import first
from tests.tuning.studies import NUM_IMAGES, SMALL_TRIALS


@pytest.fixture
def ready(workspace, new_store, training_images, monkeypatch):
    """A workspace with a space, short trials on few images, a store that has its tables, and studies without figures."""
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


@pytest.fixture
def command(ready, lifline):
    return lifline
