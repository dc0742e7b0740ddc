import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from importlib.util import find_spec

import pytest

from benchmarks import race, worker
from benchmarks.report import Table, write_results
from benchmarks.sections import Settings, busy
from benchmarks.worker import Worker
from tests.conftest import ROOT

MISSING = [name for name in ("snntorch", "spikingjelly", "norse", "jax") if find_spec(name) is None]
OWN_EQUATIONS = ("Norse", "floor, readout included", "floor, readout left out")


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not installed; `make bench` does")
def test_contestants_compute_the_same_and_the_results_are_written(workspace):
    subprocess.run(
        [sys.executable, "-m", "benchmarks", "step", "--quick", "--results", "results"],
        cwd=workspace,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
        check=True,
    )
    (path,) = (workspace / "results").glob("*.json")
    results = json.loads(path.read_text())
    section = results["sections"]["step"]
    assert set(results["machine"]) == {"processor", "threads"}
    assert section["quick"] is True
    assert [row["contestant"] for row in section["rows"]][:3] == ["lifline", "lifline, reference", "snnTorch, tutorial"]
    for row in section["rows"]:
        assert 0 < row["min ms"] <= row["median ms"] <= row["max ms"]
        if row["contestant"] in OWN_EQUATIONS:
            assert row["loss difference"] is None
        else:
            assert row["loss difference"] < 1e-3
    for row in section["rows"]:
        assert f"| {row['contestant']} |" in path.with_suffix(".md").read_text()


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
