"""Trainings that are killed, and the checkpoints from which they go on."""

import os
import random
import signal
import time

import mlflow
import pytest
import safetensors

from lifline.checkpoint import Checkpoint
from lifline.errors import TrainingError
from lifline.files import LOSS, MODEL, TRAIN_METRICS
from lifline.fingerprint import fingerprint
from lifline.model_file import new_network
from lifline.params import read_params
from lifline.params_file import change_params
from lifline.training import TrainingState
from tests.conftest import assert_one_line_error, changed, stage_process
from tests.runs import all_runs, wait_for

OUTPUTS = (MODEL, LOSS, TRAIN_METRICS)


@pytest.mark.slow
def test_a_training_killed_at_any_moment_goes_on_and_ends_bit_equal(workspace):
    change_params(
        {
            "network.learn_beta": True,
            "train.epochs": 40,
            "train.schedule": "cosine",
            "train.warmup_epochs": 2.0,
            "augmentation.rotation": 5.0,
            "augmentation.elastic": 0.5,
        }
    )
    assert stage_process("train", workspace).wait() == 0
    expected = [path.read_bytes() for path in OUTPUTS]
    for path in OUTPUTS:
        path.unlink()

    checkpoint = Checkpoint(read_params()).path
    for _ in range(2):
        training = stage_process("train", workspace)
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        wait_for(lambda before=before: checkpoint.exists() and checkpoint.stat().st_mtime_ns > before, training)
        time.sleep(random.uniform(0, 0.5))  # noqa: S311
        os.killpg(training.pid, signal.SIGKILL)
        training.wait()
    assert not MODEL.exists()
    last = stage_process("train", workspace)
    output, _ = last.communicate()
    assert last.returncode == 0
    assert "goes on after epoch" in output
    assert [path.read_bytes() for path in OUTPUTS] == expected
    assert not list(checkpoint.parent.iterdir())

    client = mlflow.MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    whole, *killed, resumed = all_runs(client)
    assert [run.info.status for run in killed] == ["KILLED", "KILLED"]
    assert 0 < int(killed[1].data.tags["resumed_after_epoch"]) < int(resumed.data.tags["resumed_after_epoch"])
    histories = [
        [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, "validation/accuracy")]
        for run in (whole, resumed)
    ]
    assert len(histories[0]) == 40
    assert histories[0] == histories[1]


@pytest.fixture
def saved(workspace):
    """Params and the checkpoint of a training of theirs."""
    params = read_params()
    checkpoint = Checkpoint(params)
    checkpoint.save(TrainingState(new_network(params.network, 0), 0))
    return params, checkpoint


def fresh(params):
    return TrainingState(new_network(params.network, 1), 0)


@pytest.mark.parametrize(
    "change",
    [
        {"train": {"seed": 1}},
        {"train": {"learning_rate": 0.1}},
        {"network": {"beta": 0.5}},
        {"data": {"validation_size": 100}},
        {"augmentation": {"shift": 1.0}},
    ],
)
def test_other_params_have_another_checkpoint_and_refuse_this_one(saved, change):
    params, checkpoint = saved
    others = changed(params, **change)
    other = Checkpoint(others)
    assert other.path != checkpoint.path
    checkpoint.path.rename(other.path)
    with pytest.raises(TrainingError, match="of a training with other params, data or code; remove it"):
        other.restore(fresh(others))


def test_what_does_not_touch_training_leaves_the_checkpoint_valid(params):
    assert fingerprint(params) == fingerprint(changed(params, export={"max_class_mismatches": 5}))


def test_other_data_or_code_have_another_fingerprint(params, monkeypatch, tmp_path):
    before = fingerprint(params)
    monkeypatch.setattr("lifline.fingerprint.__file__", str(tmp_path / "fingerprint.py"))
    other_code = fingerprint(params)
    monkeypatch.setattr("lifline.fingerprint.DATA_SHA256", "0" * 64)
    assert len({before, other_code, fingerprint(params)}) == 3


@pytest.mark.parametrize("damage", [lambda content: content[:-1000], lambda content: b"", lambda content: b"x" * 99])
def test_a_damaged_checkpoint_is_named(saved, damage):
    params, checkpoint = saved
    checkpoint.path.write_bytes(damage(checkpoint.path.read_bytes()))
    with pytest.raises(TrainingError, match=r"safetensors is damaged: .*remove it to train from the start"):
        checkpoint.restore(fresh(params))


def test_a_stage_says_so_in_a_line(saved, stage):
    _, checkpoint = saved
    checkpoint.path.write_bytes(b"")
    assert_one_line_error(stage("train"), str(checkpoint.path), "is damaged", "remove it")
    checkpoint.path.unlink()
    assert stage("train") == (0, "")


def test_a_checkpoint_holds_no_pickle(saved):
    _, checkpoint = saved
    with safetensors.safe_open(checkpoint.path, framework="pt") as file:
        assert {"network.0", "adam.averages.0", "generator.0"} < set(file.keys())
