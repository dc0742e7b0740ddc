import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import requests

from lifline import demo
from lifline.errors import LiflineError
from lifline.presets import preset_values
from lifline.tracking import runs as tracking
from lifline.tracking.comparison import comparison_page, newest_model
from tests.conftest import ROOT
from tests.tracking.runs import answers


def run_with(params, model, accuracy=0.9):
    with tracking.training_run(params, "cpu") as run:
        run.tag_model(model * 64)
        if accuracy is not None:
            run.log_metrics({"test": {"accuracy": accuracy}})
    return run.run_id


@pytest.mark.slow
def test_the_newest_tested_model_of_a_recipe_is_found(store, params):
    run_with(params, "a")
    newest = run_with(params, "b")
    run_with(params, "c", accuracy=None)
    other = run_with(params.with_values({"network.num_steps": 7}), "d")
    beta = str(params.network.beta)
    steps = str(params.network.num_steps)
    found = [newest_model({"network.num_steps": each, "network.beta": beta}) for each in (steps, "7", "8")]
    assert [run and run.info.run_id for run in found] == [newest, other, None]
    assert comparison_page(found[:2]).startswith(f"compare-runs?runs=%5B%22{newest}%22%2C%22{other}%22%5D&exp")


def test_without_a_store_there_are_no_models(workspace):
    assert newest_model({}) is None


@pytest.fixture
def trainings(workspace, monkeypatch) -> list[list[str]]:
    """What a demonstration runs until it serves."""
    commands = []

    class Training:
        def __init__(self, command):
            commands.append(command)

        __enter__, __exit__, wait = lambda self: self, lambda *_: None, lambda self: 0

    monkeypatch.setattr(demo, "subprocess", SimpleNamespace(Popen=Training))
    return commands


def demonstrate(monkeypatch, newest_model):
    class StoppedError(Exception):
        pass

    @contextmanager
    def stopped(*_):
        raise StoppedError
        yield

    monkeypatch.setattr(demo, "newest_model", newest_model)
    monkeypatch.setattr(demo, "_server", stopped)
    with pytest.raises(StoppedError):
        demo.demo()


@pytest.mark.parametrize("there", [[], ["10"], ["5"], ["5", "10"]])
def test_what_is_missing_of_two_networks_is_trained_in_a_copy(there, workspace, trainings, monkeypatch, capsys):
    def newest_model(params):
        trained = [each for command in trainings for each in command]
        steps = params["network.num_steps"]
        return "run" if steps in there or f"network.num_steps={steps}" in trained else None

    before = (workspace / "params.yaml").read_bytes()
    demonstrate(monkeypatch, newest_model)
    assert (workspace / "params.yaml").read_bytes() == before
    missing = [num_steps for num_steps in ("10", "5") if num_steps not in there]
    told = capsys.readouterr().out.splitlines()
    assert told[:2] == [
        f"training fast, {steps} steps" if steps in missing else f"fast, {steps} steps, is there already"
        for steps in ("10", "5")
    ]
    for command, num_steps in zip(trainings, missing, strict=True):
        assert command[1:6] == ["-m", "dvc", "exp", "run", "--temp"]
        sets = command[7::2]
        assert f"network.num_steps={num_steps}" in sets
        assert "network.layers=1000" in sets
        assert "train.learning_rate=0.003" in sets
        assert not [each for each in sets if each.startswith("train.schedule=constant")]


@pytest.mark.slow
def test_a_default_model_is_none_of_the_two(workspace, store, params, trainings, monkeypatch):
    run_with(params, "a")
    demonstrate(monkeypatch, newest_model)
    assert len({command[-1] for command in trainings}) == 1
    assert ["--force" in command for command in trainings] == [False, True] * 2


def test_an_interruption_is_answered_before_the_servers_have_stopped(workspace, monkeypatch, capsys):
    told_before = []

    @contextmanager
    def server(*_):
        try:
            yield "http://127.0.0.1:1"
        finally:
            told_before.append(capsys.readouterr().out.splitlines()[-1:])

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "newest_model", lambda _: "run")
    monkeypatch.setattr(demo, "comparison_page", lambda _: "page")
    monkeypatch.setattr(demo, "_server", server)
    monkeypatch.setattr(demo, "time", SimpleNamespace(sleep=interrupted))
    monkeypatch.setattr(demo, "webbrowser", SimpleNamespace(open=lambda _: None))
    with pytest.raises(KeyboardInterrupt):
        demo.demo()
    assert told_before == [["stopping the servers"], []]


@pytest.mark.slow
def test_a_server_that_does_not_start_is_told_with_what_it_wrote(workspace, capfd):
    with pytest.raises(LiflineError, match="`lifline serve` has ended"), demo._server("serve"):
        pass
    assert "error: models/model.onnx is missing" in capfd.readouterr().err.replace(f"{workspace}/", "")


@pytest.mark.slow
def test_the_demo_serves_page_and_comparison_until_it_is_interrupted(workspace, stage, params):
    for name in ("train", "evaluate", "export"):
        assert stage(name) == (0, "")
    for num_steps in (10, 5):
        run_with(params.with_values(preset_values("fast") | {"network.num_steps": num_steps}), "a")
    command = [sys.executable, "-c", "from lifline.cli import main; main()", "demo"]
    environment = {name: value for name, value in os.environ.items() if "DISPLAY" not in name}
    process = subprocess.Popen(
        command, env=environment | {"PYTHONPATH": str(ROOT / "src")}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, process_group=0,
    )  # fmt: skip
    try:
        lines = [process.stdout.readline() for _ in range(3)]
        assert ["already" in line for line in lines] == [True, True, False]
        assert "starting" in lines[-1]
        links = [re.search(r"http://127\.0\.0\.1:\d+/\S*", process.stdout.readline()).group() for _ in range(2)]
        assert "<canvas" in requests.get(links[0], timeout=30).text
        assert len(set(re.findall("[0-9a-f]{32}", links[1]))) == 2
        assert all(map(answers, links))
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read() == "error: interrupted\n"
        assert not any(map(answers, links))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
