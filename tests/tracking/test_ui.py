"""MLflow's own UI, on runs of the pipeline, in a real browser."""

import json
import re

import mlflow
import pytest
from playwright.sync_api import expect

from lifline.presets import change_params
from tests.tracking.runs import all_runs, mlflow_server

PATIENCE = 30_000
"""Milliseconds: the UI is a large program, and tests may share a processor."""

TWO_FIGURES = """() => {
  const shown = [...document.images].filter((image) => image.checkVisibility() && image.naturalWidth > 1000);
  return new Set(shown.map((image) => image.src)).size === 2;
}"""


@pytest.fixture
def ui(workspace, stage, monkeypatch):
    """A tracking server with two models that went through the pipeline; yields its address and the runs."""
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
    assert one.info.run_name == "tutorial: hidden [20], num_steps 4, validation_size 59000"
    assert two.info.run_name == "tutorial: hidden [20], beta 0.5, num_steps 4, 1 more"

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
