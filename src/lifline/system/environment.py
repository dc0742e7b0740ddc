"""Settings of the libraries below, which read them from the environment when they are first imported.

What the user has set stays.
"""

import os

SETTINGS = {
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait take the cores from whatever else runs
    "MPLBACKEND": "agg",  # no window
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # a server that is gone is given up within a minute, not after many
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a worker that was given no GPU sees none
}


def settle() -> None:
    """Put the settings into the environment, for this process and those that it starts."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
