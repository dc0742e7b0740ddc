"""Settings of libraries, which read them from the environment when they are first imported, or later.

What the user has set stays. Each package sets those of the libraries that it alone imports.
"""

import os
from collections.abc import Mapping

THREADS = {
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait take the cores from whatever else runs
}
MLFLOW = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # a server that is gone is given up within a minute, not after many
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "1",
}
STUDIES = {
    "MPLBACKEND": "agg",  # Optuna's figures open no window
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a worker that was given no GPU sees none
}
SETTINGS = THREADS | MLFLOW | STUDIES


def settle(settings: Mapping[str, str]) -> None:
    """Put settings into the environment, for this process and those that it starts."""
    for name, value in settings.items():
        os.environ.setdefault(name, value)
