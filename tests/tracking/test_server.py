"""Runs that a tracking server keeps, or should."""

import json
import shutil
import socket
import ssl
import subprocess
import threading
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import mlflow
import pytest
import urllib3

from lifline.errors import TrackingError
from lifline.params import read_params
from lifline.paths import MODEL
from lifline.system.files import sha256_of
from lifline.tracking import runs as tracking
from tests.conftest import assert_one_line_error
from tests.tracking.runs import all_runs, artifacts, mlflow_server, tiny_onnx


def test_a_server_that_does_not_answer_is_given_up(workspace, stage, monkeypatch):
    with mute_server() as (port, connections):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")  # a user's own patience counts
        assert_one_line_error(stage("train"), "MLflow at http://127.0.0.1:", "timed out", "unset MLFLOW_TRACKING_URI")
    assert len(connections) == 2


@contextmanager
def mute_server():
    """A server that takes connections and says nothing; yields its port and the connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        connections = []

        def take():
            with suppress(OSError):
                while True:
                    connections.append(server.accept()[0])

        threading.Thread(target=take, daemon=True).start()
        yield server.getsockname()[1], connections
        server.shutdown(socket.SHUT_RDWR)


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


@pytest.mark.slow
def test_a_tracking_server_takes_the_runs(workspace, stage, params, monkeypatch):
    with mlflow_server(workspace / "server") as address:
        uri = address.replace("//", "//lifline:secret@")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert stage("train") == (0, "")
        with tracking.run_of_model(sha256_of(MODEL), read_params()) as run:
            run.log_metrics({"test": {"accuracy": 0.9}})
            run.log_files(workspace / "dvc.yaml")
            run.log_onnx(tiny_onnx().SerializeToString())
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


@pytest.mark.slow
def test_a_server_that_dies_soon_ends_the_training(workspace, params, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    attempts, connect = [], urllib3.util.connection.create_connection
    server = ExitStack()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri := server.enter_context(mlflow_server(workspace / "server")))
    with (  # noqa: PT012 - all in a run
        pytest.raises(TrackingError, match=f"MLflow at {uri} does not work: Connection refused"),
        tracking.run_of_model("ab" * 32, params) as run,
    ):
        server.close()
        monkeypatch.setattr(
            urllib3.util.connection, "create_connection", lambda *a, **b: attempts.append(a) or connect(*a, **b)
        )
        run.log_metrics({"test": {"accuracy": 0.9}})
    assert len(attempts) <= 4 + 2 * 2  # patient once, not for each of the calls that close the run


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
