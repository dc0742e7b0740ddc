import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from benchmarks import race, worker
from benchmarks.report import Table, write_results
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
