"""What the machine does while a network is trained."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import TIMEOUT_MAX

from mlflow.environment_variables import (
    MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING,
    MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL,
    _EnvironmentVariable,
)
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from lifline.errors import TrackingError
from lifline.system.signals import signals_held_off
from lifline.tracking.run import Run
from lifline.tracking.store import failing_fast


@contextmanager
def system_metrics(run: Run) -> Iterator[None]:
    """Log processor, memory, disk and network to a run while the body runs.

    Raises:
        TrackingError: MLflow's settings of how often cannot be.
    """
    for setting in (MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL, MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING):
        _check(setting)
    monitor = _Monitor(run)
    monitor.start()
    try:
        yield
        monitor.log_rest()
    finally:
        with signals_held_off(), failing_fast():
            monitor.finish()


def _check(setting: _EnvironmentVariable) -> None:
    with suppress(ValueError):
        value = setting.get()
        if value is None or 0 < value <= TIMEOUT_MAX:
            return
    raise TrackingError(f"{setting.name} is {setting.get_raw()!r}; allowed is a {setting.type.__name__} above 0")


class _Monitor(SystemMetricsMonitor):
    """Waits until the run has a metric of its own: MLflow's pages open on the first that was logged."""

    def __init__(self, run: Run) -> None:
        super().__init__(run.run_id, tracking_uri=run.client.tracking_uri)
        self.mlflow_logger.client = run.client  # in whose calls no signal interrupts
        self.run = run
        self.waits = True

    def publish_metrics(self, metrics: Mapping[str, float]) -> None:
        """Log a sample, or keep it for the mean of the next."""
        self.waits = self.waits and not self.run.read().data.metrics
        if not self.waits:
            super().publish_metrics(metrics)

    def log_rest(self) -> None:
        """Log what was sampled last."""
        self.finish()
        self.publish_metrics(self.aggregate_metrics())
        self.mlflow_logger.flush()
