"""Ctrl-C in the middle of a write to the store."""

import signal
import threading
from contextlib import contextmanager

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from lifline.system.signals import interrupt_on_signals
from lifline.tracking import runs as tracking
from lifline.tracking.system_metrics import system_metrics
from tests.tracking.runs import tiny_onnx

MOMENTS = (
    (Engine, "begin"),
    (Engine, "before_cursor_execute"),
    (Engine, "after_cursor_execute"),
    (Session, "after_flush"),
    (Engine, "commit"),
)


@pytest.fixture
def no_patience():
    """SQLite finds a locked file locked at once, where MLflow has it wait for 20 seconds."""

    def without_waiting(_connection, _cursor, statement, parameters, *_):
        return statement.replace("busy_timeout = 20000", "busy_timeout = 0"), parameters

    event.listen(Engine, "before_cursor_execute", without_waiting, retval=True)
    yield
    event.remove(Engine, "before_cursor_execute", without_waiting)


@contextmanager
def interrupted_at(moment):
    """Send SIGINT at the moment with this number of what the body writes itself; yields the numbers that came."""
    came = []

    def interrupt(*_):
        if threading.current_thread() is not threading.main_thread():
            return
        came.append(len(came))
        if came[-1] == moment:
            signal.raise_signal(signal.SIGINT)

    for target, name in MOMENTS:
        event.listen(target, name, interrupt)
    try:
        yield came
    finally:
        for target, name in MOMENTS:
            event.remove(target, name, interrupt)


def write_metrics(run):
    run.log_metrics({"validation": {"accuracy": 0.9}})


def write_what_the_machine_did(run):
    with system_metrics(run):
        write_metrics(run)


def write_onnx(run):
    run.log_onnx(tiny_onnx().SerializeToString())


@pytest.mark.usefixtures("no_patience")
@pytest.mark.parametrize(
    "write",
    [
        write_metrics,
        pytest.param(write_what_the_machine_did, marks=pytest.mark.slow),
        pytest.param(write_onnx, marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_write_leaves_the_store_free_and_a_run_that_is_closed(store, params, monkeypatch, write):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "600")  # nothing is written but at the end
    with tracking.run_of_model("0" * 64, params) as run, interrupted_at(None) as moments:
        write(run)
    last = len(moments)
    for moment in range(last - 6, last):  # INSERT, flush and two commits are the last
        interrupt_on_signals()  # which lets only one in a few seconds through
        with (
            pytest.raises(KeyboardInterrupt),
            tracking.run_of_model(f"{moment:064x}", params) as run,
            interrupted_at(moment),
        ):
            write(run)
        assert store.get_run(run.run_id).info.status == "KILLED"
        assert store.get_run(run.run_id).data.tags["failure"] == "KeyboardInterrupt: "
