import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
import requests

from lifline import demo
from lifline.errors import LiflineError
from lifline.presets import change_params
from lifline.tracking import runs as tracking
from lifline.tracking.comparison import comparison_page, newest_models
from tests.conftest import ROOT
from tests.tracking.runs import answers


def run_with(params, model, accuracy=0.9):
    with tracking.training_run(params, "cpu") as run:
        run.tag_model(model * 64)
        if accuracy is not None:
            run.log_metrics({"test": {"accuracy": accuracy}})
    return run.run_id


def test_the_newest_tested_models_are_found_each_once(store, params):
    first = run_with(params, "a")
    run_with(params, "b")
    again = run_with(params, "b")
    run_with(params, "c", accuracy=None)
    assert [run.info.run_id for run in newest_models(5)] == [again, first]
    assert [run.info.run_id for run in newest_models(1)] == [again]
    assert comparison_page(newest_models(2)).startswith(f"compare-runs?runs=%5B%22{again}%22%2C%22{first}%22%5D&exp")


def test_without_a_store_there_are_no_models(workspace):
    assert newest_models(2) == []


@pytest.mark.parametrize(("num_runs", "trained"), [(0, ["10", "5"]), (1, ["5"]), (2, [])])
def test_what_is_missing_of_two_networks_is_trained_in_a_copy(num_runs, trained, workspace, monkeypatch):
    commands = []

    class Training:
        def __init__(self, command):
            commands.append(command)

        __enter__, __exit__, wait = lambda self: self, lambda *_: None, lambda self: 0

    class StoppedError(Exception):
        pass

    @contextmanager
    def stopped(*_):
        raise StoppedError
        yield

    monkeypatch.setattr(demo, "newest_models", lambda count: ["run"] * num_runs)
    monkeypatch.setattr(demo, "_server", stopped)
    monkeypatch.setattr(demo.subprocess, "Popen", Training)
    before = (workspace / "params.yaml").read_bytes()
    with pytest.raises(StoppedError):
        demo.demo()
    assert (workspace / "params.yaml").read_bytes() == before
    for command, num_steps in zip(commands, trained, strict=True):
        assert command[1:6] == ["-m", "dvc", "exp", "run", "--temp"]
        sets = command[7::2]
        assert f"network.num_steps={num_steps}" in sets
        assert "network.layers=1000" in sets
        assert "train.learning_rate=0.003" in sets
        assert not [each for each in sets if each.startswith("train.schedule=constant")]


def test_a_server_that_does_not_start_is_told(workspace):
    with pytest.raises(LiflineError, match="`lifline serve` has ended"), demo._server("serve"):
        pass


@pytest.mark.slow
def test_the_demo_serves_page_and_comparison_until_it_is_interrupted(workspace, stage):
    for num_steps in (4, 3):
        change_params({"network.num_steps": num_steps})
        for name in ("train", "evaluate", "export"):
            assert stage(name) == (0, "")
    command = [sys.executable, "-c", "from lifline.cli import main; main()", "demo"]
    environment = {name: value for name, value in os.environ.items() if "DISPLAY" not in name}
    process = subprocess.Popen(
        command, env=environment | {"PYTHONPATH": str(ROOT / "src")}, stdout=subprocess.PIPE, text=True,
        process_group=0,
    )  # fmt: skip
    try:
        assert "starting" in process.stdout.readline()
        links = [re.search(r"http://127\.0\.0\.1:\d+/\S*", process.stdout.readline()).group() for _ in range(2)]
        assert "<canvas" in requests.get(links[0], timeout=30).text
        assert len(set(re.findall("[0-9a-f]{32}", links[1]))) == 2
        assert all(map(answers, links))
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert not any(map(answers, links))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
