"""What the server of tests/processes.py imports before it forks: no import here may start a thread or open a file."""

import gc
import os
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import lifline
import tests.processes  # noqa: F401

AFTER_THE_FORK = ("onnxruntime", "ray", "triton")  # the first starts a thread
LATE = (  # what libraries put off until it is needed
    "alembic.command",
    "cffi",
    "dvc.cli.parser",
    "dvc.repo",
    "git",
    "matplotlib.backends.backend_agg",
    "mlflow.store.model_registry.sqlalchemy_workspace_store",
    "mlflow.store.tracking.sqlalchemy_workspace_store",
    "mlflow.system_metrics.system_metrics_monitor",
    "mlflow.tracing.processor.otel_metrics_mixin",
    "numba.typed",
    "optuna.importance",
    "scipy.linalg",
    "sklearn.ensemble",
    "sqlalchemy.dialects.sqlite",
)


def import_all() -> None:
    """Import lifline, as far as it needs nothing that waits, and what libraries put off."""
    sys.modules |= dict.fromkeys(AFTER_THE_FORK)
    source = Path(lifline.__file__).parents[1]
    for path in sorted(source.rglob("*.py")):
        with suppress(ImportError):  # of what waits, or is not there
            import_module(".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__"))
    for name in LATE:
        import_module(name)
    for name in AFTER_THE_FORK:
        del sys.modules[name]
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # in place of DVC's


try:
    import_all()
except ImportError as error:
    raise RuntimeError(str(error)) from error  # multiprocessing goes on after an ImportError
import_module("tests.quick_stores").quicken_stores()
gc.freeze()  # a collection in a forked process would touch, and so copy, all there is
threads = os.listdir("/proc/self/task")
assert len(threads) == 1, f"a fork would lose threads: {threads}"
