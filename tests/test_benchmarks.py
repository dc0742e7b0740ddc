import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import islice

import numpy as np
import pytest

from benchmarks import race, worker
from benchmarks.contestants import Contestant, floor, integer_network, lifline_network, snntorch_networks
from benchmarks.report import Table, write_results
from benchmarks.sections import Settings, busy, integer, networks
from benchmarks.task import Task
from benchmarks.worker import Worker, WorkerError
from lifline.errors import LiflineError
from lifline.export.integer.quantize import quantize
from lifline.export.integer.reference import run
from lifline.models.model import save_model
from lifline.paths import MODEL
from tests.conftest import ROOT, changed, untrained
from tests.export.integer.compiled import needs_compiler

MISSING = [name for name in ("snntorch", "spikingjelly", "norse", "jax") if find_spec(name) is None]
OWN_EQUATIONS = ("Norse", "Spyx", "floor, readout included", "floor, readout left out", "floor")
TINY = Task("2C3-MP2-3C3-6", num_steps=3, batch_size=4)


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not installed; `make bench` does")
@pytest.mark.parametrize("name", ["step", "tutorial6_8", "deep"])
def test_contestants_compute_the_same_and_the_results_are_written(name, workspace):
    subprocess.run(
        [sys.executable, "-m", "benchmarks", name, "--quick", "--results", "results"],
        cwd=workspace,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
        check=True,
    )
    (path,) = (workspace / "results").glob("*.json")
    results = json.loads(path.read_text())
    section = results["sections"][name]
    assert set(results["machine"]) == {"processor", "threads"}
    assert section["quick"] is True
    labels = [row["contestant"] for row in section["rows"]]
    assert {"lifline", "lifline, reference", "snnTorch, tutorial", "SpikingJelly", "Norse"} <= set(labels)
    for row in section["rows"]:
        if row["median ms"] == networks.FAILED:
            assert row["contestant"] == "snnTorch, torch.compile"
            assert any(note.startswith("snnTorch, torch.compile failed: ") for note in section["notes"])
            continue
        assert 0 < row["min ms"] <= row["median ms"] <= row["max ms"]
        if row["contestant"] in OWN_EQUATIONS or (row["contestant"], name) == ("SpikingJelly", "tutorial6_8"):
            assert row["loss difference"] is None
        else:
            assert row["loss difference"] < (0.1 if row["contestant"] == "lifline, bf16" else 1e-3)
    for label in labels:
        assert f"| {label} |" in path.with_suffix(".md").read_text()


def test_a_task_names_its_layers_and_draws_their_weights():
    layers = TINY.network_layers()
    assert [layer.name for layer in layers] == ["conv1", "conv2", "fc1", "fc2"]
    shapes = {name: values.shape for name, values in TINY.weights().items() if name.endswith("weight")}
    assert shapes == {
        "conv1.weight": (2, 1, 3, 3),
        "conv2.weight": (3, 2, 3, 3),
        "fc1.weight": (6, 3 * 11 * 11),
        "fc2.weight": (10, 6),
    }
    assert abs(TINY.weights()["conv2.weight"]).max() <= (2 * 9) ** -0.5
    assert list(Task().weights()) == ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]


@pytest.mark.parametrize("task", [TINY, Task("7-6", 3, 4, 0.5, "fast_sigmoid", loss="rate_ce")])
def test_snntorch_computes_what_lifline_does_of_any_layers(task, tmp_path):
    data, draw = tmp_path / "few.npz", np.random.default_rng(0)
    np.savez(data, images=5 * draw.random((8, 784), dtype=np.float32), labels=draw.integers(0, 10, 8))
    losses = {
        function: [loss.item() for loss in islice(function(task, data), 3)]
        for function in (lifline_network.train, snntorch_networks.train_tutorial, snntorch_networks.train_hoisted)
    }
    expected = losses.pop(lifline_network.train)
    assert all(its_losses == pytest.approx(expected, rel=1e-4) for its_losses in losses.values())
    images, _ = task.batches(data)[0]
    assert images.shape == (4, *task.input_shape)


@needs_compiler
def test_the_integer_networks_c_is_raced_as_it_is_exported(params, mnist_file, test_images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = untrained(changed(params, network={"layers": "20", "num_steps": 4, "threshold": 0.3}).network)
    save_model(model, MODEL)
    expected = run(quantize(model.network, model.params.decoding), test_images.images[:30].numpy()).classes
    for classify in (integer_network.classify_one, integer_network.classify_one_native):
        _, *decided = islice(classify(Task(), mnist_file), 31)
        assert decided == expected.tolist()
    assert len(set(decided)) > 1


def test_an_integer_network_that_decides_otherwise_is_not_raced():
    alike = {"onnx": [0.0] * 9, "plain": [0.0] * 5 + [1.0] * 4, "native": [0.0] * 5 + [1.0] * 4}
    integer._check_agreement(alike)
    with pytest.raises(LiflineError, match="by other options"):
        integer._check_agreement(alike | {"native": [0.0] * 9})
    with pytest.raises(LiflineError, match="otherwise on 9 of"):
        integer._check_agreement({"onnx": [2.0] * 9, "plain": [0.0] * 9, "native": [0.0] * 9})


@pytest.mark.parametrize("task", [TINY, Task("7-6", 3, 4)])
def test_the_floor_runs_the_products_of_any_layers(task, tmp_path):
    data = tmp_path / "few.npz"
    np.savez(data, images=np.zeros((4, 784), np.float32), labels=np.zeros(4, np.int64))
    assert list(islice(floor.with_readout(task, data), 2)) == [0, 0]


@pytest.mark.slow
def test_a_worker_tells_why_it_failed_and_is_not_waited_for_beyond_a_limit(tmp_path):
    np.savez(tmp_path / "few.npz", images=np.zeros((4, 784), np.float32), labels=np.zeros(4, np.int64))
    with Worker() as started:
        with pytest.raises(WorkerError, match=r"^AttributeError: module .* has no attribute 'nobody'"):
            started.start("floor:nobody", TINY, tmp_path / "few.npz")
        started.start("floor:with_readout", TINY, tmp_path / "few.npz")
        with pytest.raises(WorkerError, match=r"^not done after 0\.001 s$"):
            started.advance(1_000, limit_seconds=0.001)


def test_one_that_may_fail_is_a_row_that_says_so_and_others_are_not(monkeypatch, tmp_path):
    def start_workers(stack, contestants, *_):
        for name in contestants:
            if name == "compiled":
                raise WorkerError("not done after 20 s")
        return dict.fromkeys(contestants, FakeWorker()), {name: [1.0] for name in contestants}

    class FakeWorker:
        def close(self):
            pass

    racers = {
        "lifline": Contestant("lifline", ""),
        "reference": Contestant("reference", ""),
        "compiled": Contestant("compiled", "", limit_seconds=120),
        "floor": Contestant("floor", "", expected=None),
    }
    monkeypatch.setattr(networks, "start_workers", start_workers)
    monkeypatch.setattr(networks, "_contestants", lambda *_: racers)
    monkeypatch.setattr(networks, "race", lambda workers, *_: {name: [2.0, 4.0] for name in workers})
    table = networks.measure("deep", Settings(tmp_path, tmp_path, tmp_path, is_quick=True))
    assert [(row["contestant"], row["median ms"], row["floor's share"]) for row in table.rows] == [
        ("lifline", 3000, 1),
        ("reference", 3000, 1),
        ("compiled", networks.FAILED, None),
        ("floor", 3000, 1),
    ]
    assert "compiled failed: not done after 20 s." in table.notes


def test_a_section_measured_alone_leaves_the_others_in_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.report.describe_software", dict)
    write_results(tmp_path, {"step": Table("Step", [{"contestant": "a", "median ms": 1.0}])}, is_quick=False)
    path = write_results(tmp_path, {"memory": Table("Memory", [{"contestant": "a", "MiB": 2.0}])}, is_quick=False)
    assert set(json.loads(path.read_text())["sections"]) == {"step", "memory"}


def test_turns_rotate(monkeypatch):
    turns = []

    class FakeWorker:
        def __init__(self, name):
            self.name = name

        def advance(self, iterations):
            turns.append((self.name, iterations))
            return worker.Run([1.0] * iterations, [0.0] * iterations)

    monkeypatch.setattr(race, "PAUSE_SECONDS", 0)
    seconds = race.race({name: FakeWorker(name) for name in "ab"}, rounds=2, iterations=3)
    assert seconds == {"a": [1.0] * 6, "b": [1.0] * 6}
    assert turns == [("a", 1), ("a", 3), ("b", 1), ("b", 3), ("b", 1), ("b", 3), ("a", 1), ("a", 3)]


def test_beside_a_busy_process_both_ways_to_wait_are_measured_by_turns(monkeypatch, tmp_path):
    processes, turns = [], []

    class FakeWorker:
        def __init__(self, name):
            self.name = name

        def advance(self, iterations):
            is_busy = bool(processes) and processes[-1].poll() is None
            turns.append((self.name, is_busy))
            return worker.Run([2.0 if is_busy else 1.0] * iterations, [0.0] * iterations)

    @contextmanager
    def noted(busy_process=busy.busy_process):
        with busy_process() as process:
            processes.append(process)
            yield

    fakes = {name: FakeWorker(name) for name in busy.RACERS}
    monkeypatch.setattr(busy, "start_workers", lambda *_: (fakes, {}))
    monkeypatch.setattr(busy, "busy_process", noted)
    monkeypatch.setattr(race, "PAUSE_SECONDS", 0)
    table = busy.measure(Settings(tmp_path, tmp_path, tmp_path, is_quick=True))
    assert [(row["threads wait by"], row["beside"], row["times idle"]) for row in table.rows] == [
        ("OMP_WAIT_POLICY=PASSIVE", "nothing", 1.0),
        ("OMP_WAIT_POLICY=PASSIVE", "a busy process", 2.0),
        ("libgomp's default", "nothing", 1.0),
        ("libgomp's default", "a busy process", 2.0),
    ]
    assert set(turns) == {(name, is_busy) for name in busy.RACERS for is_busy in (False, True)}
    assert [process.returncode for process in processes] == [-signal.SIGKILL]


def test_a_busy_process_ends_when_what_it_was_started_for_is_killed():
    with busy.busy_process() as process:
        assert process.poll() is None
        process.stdin.close()  # as the system does with a dead process's
        assert process.wait(60) == 0


@pytest.mark.parametrize("own", [{}, {"OMP_WAIT_POLICY": "ACTIVE"}])
def test_a_contestants_process_waits_as_lifline_has_set_it_unless_it_asks_otherwise(own, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    started = []
    monkeypatch.setattr(worker.subprocess, "Popen", lambda *_, env, **__: started.append(env))
    Worker(own)
    assert started[0]["OMP_WAIT_POLICY"] == own.get("OMP_WAIT_POLICY", "PASSIVE")
