"""Trainings that are killed, and the checkpoints from which they go on."""

import os
import random
import signal
import time
from contextlib import suppress

import mlflow
import pytest
import safetensors
import torch

from lifline.data.datasets import load_dataset
from lifline.errors import TrainingError
from lifline.experiments.checkpoint import MAX_FILES, checkpoint_of
from lifline.experiments.fingerprint import fingerprint
from lifline.models.model import new_network
from lifline.params import read_params
from lifline.paths import DATA, LOSS, MODEL, TRAIN_METRICS, repository_root
from lifline.presets import change_params
from lifline.system.locks import locked
from lifline.training.fit import TrainingState
from lifline.training.report import EpochReport
from tests.conftest import HEALTHY, MNIST, assert_one_line_error, changed, stage_process
from tests.tracking.runs import all_runs, wait_for

OUTPUTS = (MODEL, LOSS, TRAIN_METRICS)
CPU = torch.device("cpu")
IMAGES = "da" * 32
"""The SHA-256 of some data set."""


def path_of(params, data_sha256=IMAGES):
    """Where the stage processes keep their checkpoint, which have as many threads as this one."""
    return repository_root() / f".checkpoints/{fingerprint(params, data_sha256, CPU)[:16]}.safetensors"


@pytest.mark.slow
def test_a_training_killed_at_any_moment_goes_on_and_ends_bit_equal(workspace):
    change_params(
        {
            "train.epochs": 14,
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

    checkpoint = path_of(read_params(), load_dataset(DATA).sha256)
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
    assert len(histories[0]) == 14
    assert histories[0] == histories[1]


def killed(params, state):
    """The checkpoint of a training that was killed in this state."""
    with suppress(KeyboardInterrupt), checkpoint_of(params, IMAGES, CPU) as checkpoint:
        checkpoint.save(state)
        raise KeyboardInterrupt
    return checkpoint


@pytest.fixture
def saved(workspace):
    """Params and the checkpoint of a training of theirs that was killed."""
    params = read_params()
    return params, killed(params, TrainingState(new_network(params.network, MNIST, 0), 0))


def fresh(params):
    return TrainingState(new_network(params.network, MNIST, 1), 1)


def test_a_checkpoint_stays_until_the_training_has_written_what_it_made(saved):
    params, kept = saved
    assert kept.path.exists()
    with checkpoint_of(params, IMAGES, CPU) as checkpoint:
        state = fresh(params)
        checkpoint.restore(state)
        assert torch.equal(
            state.network.layers[0].projection.weight, new_network(params.network, MNIST, 0).layers[0].projection.weight
        )
    assert not list(kept.path.parent.iterdir())


@pytest.mark.parametrize(
    "change",
    [
        {"train": {"seed": 1}},
        {"train": {"learning_rate": 0.1}},
        {"network": {"beta": 0.5}},
        {"data": {"validation_size": 100}},
        {"data": {"gate_size": 100}},
        {"augmentation": {"shift": 1.0}},
    ],
)
def test_other_params_have_another_checkpoint_and_refuse_this_one(saved, change):
    params, checkpoint = saved
    others = changed(params, **change)
    with checkpoint_of(others, IMAGES, CPU) as other:
        assert other.path != checkpoint.path
        other.restore(fresh(others))  # which has none
        checkpoint.path.rename(other.path)
        with pytest.raises(TrainingError, match="of a training with other params, data or code; remove it"):
            other.restore(fresh(others))


@pytest.mark.parametrize("change", [{"export": {"max_class_mismatches": 5}}, {"champion": {"level": 0.2}}])
def test_what_does_not_touch_training_leaves_the_checkpoint_valid(params, change):
    assert fingerprint(params, IMAGES, CPU) == fingerprint(changed(params, **change), IMAGES, CPU)


def test_what_decides_the_bits_is_in_the_fingerprint(params, monkeypatch):
    prints = [fingerprint(params, IMAGES, CPU)]
    monkeypatch.setattr("lifline.experiments.fingerprint._code_sha256", lambda: "other code")
    prints.append(fingerprint(params, IMAGES, CPU))
    prints.append(fingerprint(params, "db" * 32, CPU))
    monkeypatch.setenv("LIFLINE_KERNELS", "reference")
    prints.append(fingerprint(params, IMAGES, CPU))
    monkeypatch.setattr("lifline.experiments.fingerprint.describe_device", lambda device: "cpu (17 threads)")
    prints.append(fingerprint(params, IMAGES, CPU))
    monkeypatch.setattr("lifline.experiments.fingerprint.version", lambda library: "0.1")
    prints.append(fingerprint(params, IMAGES, CPU))
    assert len(set(prints)) == 6


@pytest.mark.parametrize("damage", [lambda content: content[:-1000], lambda content: b"", lambda content: b"x" * 99])
def test_a_damaged_checkpoint_is_named(saved, damage):
    params, checkpoint = saved
    checkpoint.path.write_bytes(damage(checkpoint.path.read_bytes()))
    with pytest.raises(TrainingError, match=r"safetensors is damaged: .*remove it to train from the start"):
        checkpoint.restore(fresh(params))


def test_a_stage_says_so_in_a_line(workspace, stage):
    path = path_of(read_params(), load_dataset(DATA).sha256)
    path.parent.mkdir()
    path.write_bytes(b"")
    assert_one_line_error(stage("train"), str(path), "is damaged", "remove it")
    path.unlink()
    assert stage("train") == (0, "")


def test_the_same_training_twice_at_once_is_refused(workspace, stage):
    params = read_params()
    with checkpoint_of(params, load_dataset(DATA).sha256, CPU) as checkpoint:
        checkpoint.save(fresh(params))
        assert_one_line_error(stage("train"), "is held: another process trains with the same params, seed 42")
        assert checkpoint.path.exists()
    change_params({"train.seed": 43})
    assert stage("train") == (0, "")


def test_trainings_that_nobody_goes_on_with_are_forgotten(workspace):
    params = read_params()
    for seed in range(MAX_FILES + 3):
        seeded = params.with_values({"train.seed": seed})
        checkpoint = killed(seeded, fresh(seeded))
        os.utime(checkpoint.path, (seed, seed))
    left = {path.name for path in checkpoint.path.parent.glob("*.safetensors")}
    assert len(left) == MAX_FILES
    assert path_of(seeded).name in left
    assert path_of(params.with_values({"train.seed": 2})).name not in left


def test_what_killed_trainings_left_beside_checkpoints_is_cleared_away(saved):
    params, kept = saved
    assert list(kept.path.parent.iterdir()) == [kept.path]  # an interrupted one lets go of its lock
    for name in ("0123.lock", "seeds-0123.lock", ".0123.safetensors.tmp"):
        (kept.path.parent / name).touch()
    with locked(kept.path.with_name("held.lock")), checkpoint_of(params, IMAGES, CPU):
        assert {path.suffix for path in kept.path.parent.iterdir()} == {".safetensors", ".lock"}
        assert len(list(kept.path.parent.glob("*.lock"))) == 2  # those of living processes


def test_losses_come_back_to_the_bit(workspace):
    params = read_params()
    losses = torch.rand(7).tolist()
    state = fresh(params)
    state.reports = [
        EpochReport(1, 4, losses[:4], 0.1, 0.2, 0.3, 1 / 3, 5.0, 4, [], HEALTHY),
        EpochReport(2, 7, losses[4:], 0.2, 0.1, 0.4, 1 / 7, 5.0, 4, [], HEALTHY),
    ]
    with checkpoint_of(params, IMAGES, CPU) as checkpoint:
        checkpoint.save(state)
        checkpoint.restore(restored := fresh(params))
    assert restored.reports == state.reports


def test_a_checkpoint_holds_no_pickle(saved):
    _, checkpoint = saved
    with safetensors.safe_open(checkpoint.path, framework="pt") as file:
        assert {"network.0", "adam.averages.0", "generator"} < set(file.keys())
