"""MLflow's own UI on this repository's store."""

import json
import os
import sys

from lifline.system.ports import HOST, listen
from lifline.tracking.store import EXPERIMENT, artifacts_folder, store
from lifline.tracking.uri import is_server, read_tracking_uri, without_credentials

VIEW = "lifline"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"  # by which the UI knows a view that was shared
COLUMNS = {"selectedColumns": ["metrics.`test/accuracy`", "metrics.`validation/accuracy`"]}


def serve_ui(port: int) -> None:
    """Print the link to the runs, and become MLflow's server, for this machine alone; a tracking server has its own.

    The link leads past the UI's start page, which is for agents, to the runs with their accuracies.

    Raises:
        LiflineError: the port cannot be had; there is no store yet, or it cannot be reached.
    """
    uri = read_tracking_uri()
    if not is_server(uri):
        listen(port).close()  # MLflow says that a port is taken in a minute, and in many lines
    with store() as client:
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment and experiment.lifecycle_stage == "active":
            client.set_experiment_tag(experiment.experiment_id, VIEW_TAG, json.dumps(COLUMNS))
            page = f"experiments/{experiment.experiment_id}/runs"
        else:
            page = "experiments"
    address = without_credentials(uri).rstrip("/") if is_server(uri) else f"http://{HOST}:{port}"
    link = f"{address}/#/{page}?workflowType=machine_learning&viewStateShareKey={VIEW}"
    print(f"the runs, as soon as the server answers: {link}", flush=True)
    if not is_server(uri):
        settings = {  # not among the arguments, which every user of the machine can read
            "MLFLOW_BACKEND_STORE_URI": uri,
            "MLFLOW_REGISTRY_STORE_URI": uri,
            "MLFLOW_DEFAULT_ARTIFACT_ROOT": artifacts_folder(uri).as_uri(),
        }
        command = [sys.executable, "-m", "mlflow", "ui", "--host", HOST, "--port", str(port), "--workers", "1"]
        os.execve(sys.executable, command, os.environ | settings)  # noqa: S606 - no shell
