"""Runs that a tracking server keeps, or should."""

import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import mlflow
import pytest

from lifline.params import read_params
from lifline.paths import MODEL
from lifline.system.files import sha256_of
from lifline.tracking import runs as tracking
from tests.conftest import assert_one_line_error, stage_process
from tests.tracking.runs import all_runs, artifacts, endless, mlflow_server, running, tiny_onnx, wait_for


def test_a_server_that_does_not_answer_is_given_up(workspace, stage, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")  # a user's own patience counts
        started = time.monotonic()
        assert_one_line_error(stage("train"), "MLflow at http://127.0.0.1:", "timed out", "unset MLFLOW_TRACKING_URI")
    assert time.monotonic() - started < 10


def test_mlflows_own_settings_reach_the_server(workspace, stage, monkeypatch, tmp_path):
    """Of TLS and authentication: a server that accepts both answers, if only with a refusal."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes a certificate, is not on the PATH")
    with refusing_tls_server(tmp_path) as (uri, headers):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "a-token")
        assert_one_line_error(stage("train"), f"MLflow at {uri} does not work", "certificate verify failed")
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(tmp_path / "certificate.pem"))
        assert_one_line_error(stage("train"), f"MLflow at {uri} does not work", "lifline is not welcome")
    assert headers[-1]["Authorization"] == "Bearer a-token"


def test_a_tracking_server_takes_the_runs(workspace, stage, params, monkeypatch):
    with mlflow_server(workspace / "server") as address:
        uri = address.replace("//", "//lifline:secret@")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert stage("train") == (0, "")
        with tracking.run_of_model(sha256_of(MODEL), read_params()) as run:
            run.log_metrics({"test": {"accuracy": 0.9}})
            run.log_files(workspace / "dvc.yaml")
            run.log_onnx(tiny_onnx())
        assert stage("train") == (0, "")
        client = mlflow.MlflowClient(uri)
        runs = [client.get_run(run.info.run_id) for run in all_runs(client)]
        assert [run.info.status for run in runs] == ["FINISHED"] * 2
        for run in runs:
            assert {"validation/accuracy", "test/accuracy"} < set(run.data.metrics)
            assert {"params.yaml", "loss.csv", "dvc.yaml"} < artifacts(client, run)
            assert len(run.outputs.model_outputs) == 1
        assert not (workspace / "mlflow.db").exists()
        with pytest.raises(RuntimeError), tracking.training_run(params, "cpu"):
            raise RuntimeError(f"no luck at {uri}")
        assert "no luck" in (failure := all_runs(client)[-1].data.tags["failure"])
        assert "secret" not in failure


def test_a_server_that_dies_soon_ends_the_training(workspace, monkeypatch):
    endless(workspace)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")  # half of MLflow's own, to save the tests time
    with mlflow_server(workspace / "server") as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        training = stage_process("train", workspace)
        wait_for(lambda: running(client := mlflow.MlflowClient(uri)) and running(client)[0].data.metrics, training)
    died = time.monotonic()
    _, stderr = training.communicate(timeout=120)
    outcome = (training.returncode, stderr)
    assert_one_line_error(
        outcome, f"MLflow at {uri} does not work: ", "Connection "
    )  # refused, or broken in mid-answer
    assert time.monotonic() - died < 16  # once, not for each of the calls that close the run


def test_a_setting_of_mlflows_that_cannot_be_is_named(workspace, stage, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "soon")
    assert_one_line_error(stage("train"), "MLflow at http://127.0.0.1:1 does not work", "TIMEOUT", "soon")


@contextmanager
def refusing_tls_server(folder):
    """An HTTPS server with a certificate of its own that lets nobody in; yields its address and the headers it got."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    headers = []

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self):
            headers.append(self.headers)
            body = json.dumps({"error_code": "PERMISSION_DENIED", "message": "lifline is not welcome"}).encode()
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://localhost:{server.server_port}", headers
        server.shutdown()
