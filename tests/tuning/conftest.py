"""A study to be run, and `lifline` to run it with."""

import pytest

from lifline.presets import change_params


@pytest.fixture
def ready(workspace):
    """A workspace with a space, and short trials."""
    space = "{network.beta: {low: 0.3, high: 0.99}, train.learning_rate: {low: 1.0e-3, high: 0.1, log: true}}"
    text = (workspace / "params.yaml").read_text()
    head, _, _ = text.partition("tune:")
    (workspace / "params.yaml").write_text(f"{head}tune:\n  epochs: 2\n  space: {space}\n")
    change_params({"train.learning_rate": 0.01, "network.beta": 0.9})
    return workspace


@pytest.fixture
def command(ready, lifline):
    return lifline
