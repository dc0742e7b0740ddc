"""What tests of tracking share: runs to look at, and trainings to wait for."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import onnx
import requests


def all_runs(client):
    experiment = client.get_experiment_by_name("lifline")
    return client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"])


def running(client):
    try:
        return [run for run in all_runs(client) if run.info.status == "RUNNING"]
    except AttributeError:  # there is no experiment yet
        return []


def artifacts(client, run):
    return {file.path for file in client.list_artifacts(run.info.run_id)}


def measured(run):
    """The metrics but those of the machine."""
    return {name: value for name, value in run.data.metrics.items() if not name.startswith("system/")}


def endless(workspace):
    text = (workspace / "params.yaml").read_text()
    (workspace / "params.yaml").write_text(text.replace("epochs: 1", "epochs: 10000"))


def wait_for(condition, process, seconds=240):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.2)


def tiny_onnx(brightness=1):
    """A model with the inputs and outputs of an exported one."""
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    scale = helper.make_tensor("scale", floats, [1], [brightness])
    nodes = [
        helper.make_node("Mul", ["image", "scale"], ["scaled"]),
        helper.make_node("Flatten", ["scaled"], ["flat"]),
        helper.make_node("ArgMax", ["flat"], ["class"], axis=1, keepdims=0),
        helper.make_node("Unsqueeze", ["flat", "first"], ["spikes"]),
        helper.make_node("Identity", ["spikes"], ["membrane"]),
    ]
    image = helper.make_tensor_value_info("image", floats, ["batch", 1, 28, 28])
    first = helper.make_tensor("first", onnx.TensorProto.INT64, [1], [0])
    outputs = [helper.make_tensor_value_info(name, floats, [1, "batch", 784]) for name in ("spikes", "membrane")]
    outputs.append(helper.make_tensor_value_info("class", onnx.TensorProto.INT64, ["batch"]))
    graph = helper.make_graph(nodes, "tiny", [image], outputs, [scale, first])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@contextmanager
def mlflow_server(folder):
    folder.mkdir()
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
         "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/artifacts"],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for(lambda: answers(f"{uri}/health"), server)
        yield uri
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def answers(url):
    try:
        return requests.get(url, timeout=5).ok
    except requests.ConnectionError:
        return False
