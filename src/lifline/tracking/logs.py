"""What MLflow says by itself."""

import logging

LEVELS = {
    "mlflow": logging.WARNING,
    "mlflow.store.db": logging.CRITICAL,  # its errors are raised, too
    "mlflow.system_metrics": logging.CRITICAL,  # whose errors stop no stage
}


def quiet_mlflow() -> None:
    """Let MLflow say nothing that a command says itself, or that nobody needs to know."""
    for name, level in LEVELS.items():
        logging.getLogger(name).setLevel(level)
