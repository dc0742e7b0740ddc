"""MLflow's own UI, on runs of the pipeline, in a real browser."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys

import mlflow
import pytest
from playwright.sync_api import expect

from lifline.figures.style import as_png
from lifline.presets import change_params
from lifline.tracking import runs as tracking
from tests.conftest import ROOT, assert_one_line_error, write_tutorial_params
from tests.tracking.runs import all_runs, answers, free_port, mlflow_server, wait_for

PATIENCE = 120_000
"""Milliseconds: the UI is a large program, and tests may share a processor."""

TWO_FIGURES = """() => {
  const shown = [...document.images].filter((image) => image.checkVisibility() && image.naturalWidth > 1000);
  return new Set(shown.map((image) => image.src)).size === 2;
}"""


@pytest.fixture
def ui(workspace, stage, monkeypatch):
    """A tracking server with two models that went through the pipeline; yields its address and the runs."""
    monkeypatch.setattr("lifline.figures.style.as_png", as_png)  # real figures, which the workspace leaves blank
    with mlflow_server(workspace / "server") as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        for beta in (0.95, 0.5):
            change_params({"network.beta": beta})
            for name in ("train", "evaluate", "export"):
                assert stage(name) == (0, "")
        yield address, all_runs(mlflow.MlflowClient(address))


@pytest.mark.slow
def test_the_ui_lists_the_runs_and_compares_two_with_their_figures(browser, ui):
    address, (one, two) = ui
    experiment = one.info.experiment_id
    assert one.info.run_name == "tutorial: layers 20, num_steps 4, validation_size 500"
    assert two.info.run_name == "tutorial: layers 20, beta 0.5, num_steps 4, validation_size 500"

    page = browser.new_page()
    page.goto(f"{address}/#/experiments/{experiment}/runs")
    for run in (one, two):
        expect(page.get_by_text(run.info.run_name, exact=True).first).to_be_visible(timeout=PATIENCE)

    page.goto(f"{address}/#/experiments/{experiment}/runs/{two.info.run_id}")
    accuracy = f"{two.data.metrics['test/accuracy']:.2%}"
    expect(page.get_by_text(f"test accuracy {accuracy}")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("link", name="lifline, version 2")).to_have_attribute(
        "href", re.compile("#/models/lifline/versions/2$"), timeout=PATIENCE
    )

    page = browser.new_page()  # the address differs only after the #, for which a page is not loaded anew
    runs = json.dumps([one.info.run_id, two.info.run_id], separators=(",", ":")).replace('"', "%22")
    page.goto(f"{address}/#/compare-runs?runs={runs}&experiments=[%22{experiment}%22]")
    for text in ("Comparing 2 Runs from 1 Experiment", "network.beta", "test/accuracy"):
        expect(page.get_by_text(text, exact=True).first).to_be_visible(timeout=PATIENCE)
    page.get_by_text("raster.png", exact=True).dispatch_event("click", timeout=PATIENCE)
    page.wait_for_function(TWO_FIGURES, timeout=PATIENCE)


@pytest.mark.slow
def test_lifline_ui_prints_the_link_to_the_runs_with_their_accuracies(browser, ui_of_odd_folder):
    link, run_name = ui_of_odd_folder
    page = browser.new_page()
    page.goto(link)
    for text in (run_name, "test/accuracy", "0.9375", "validation/accuracy"):
        expect(page.get_by_text(text, exact=True).first).to_be_visible(timeout=PATIENCE)
    page.get_by_text(run_name, exact=True).first.click()
    page.get_by_role("tab", name="Artifacts").click(timeout=PATIENCE)
    page.get_by_text("params.yaml", exact=True).first.click(timeout=PATIENCE)
    expect(page.get_by_text("validation_size").first).to_be_visible(timeout=PATIENCE)


@pytest.fixture
def ui_of_odd_folder(tmp_path, params, monkeypatch):
    """`lifline ui` on a run, in a folder whose name would mean something else in a URL; yields link and run's name."""
    folder = tmp_path / "50%20 what? #1"
    folder.mkdir()
    write_tutorial_params(folder)
    shutil.copy(ROOT / "dvc.yaml", folder)
    monkeypatch.chdir(folder)
    with tracking.training_run(params, "cpu") as run:
        run.log_metrics({"validation": {"accuracy": 0.9}, "test": {"accuracy": 0.9375}})
    name = run.read().info.run_name
    port = str(free_port())
    command = [sys.executable, "-c", "from lifline.cli import main; main()", "ui", "--port", port]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    server = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    try:
        link = re.search(r"http://127\.0\.0\.1:\S+", server.stdout.readline()).group()
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/health"), server)
        yield link, name
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    assert list(tmp_path.iterdir()) == [folder]


def test_a_port_that_another_program_has_is_named_before_the_link(store, lifline):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = lifline("ui", "--port", str(port))
    assert out == ""
    assert_one_line_error((code, err), f"port {port} is in use")


@pytest.mark.slow
def test_a_tracking_servers_own_ui_is_named_without_its_password(lifline, monkeypatch, workspace):
    with mlflow_server(workspace / "server") as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address.replace("//", "//lifline:secret@"))
        code, out, err = lifline("ui")
    assert (code, err) == (0, "")
    assert f" {address}/#/experiments" in out
