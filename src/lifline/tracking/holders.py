"""Who holds a run: a process that does keeps a lock file, by which the next knows the runs that a kill left open."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory

from mlflow import MlflowClient, entities

from lifline.paths import repository_root
from lifline.system.locks import abandoned, locked
from lifline.system.secrets import shown
from lifline.tracking.store import all_pages
from lifline.tracking.tags import FAILURE_TAG, HOLDER_TAG, TRIAL_TAG


@contextmanager
def holding(uri: str) -> Iterator[str]:
    """A name under which this process may hold a run of a store.

    Its lock file stays until `let_go`, since it must outlive a run that cannot be closed.
    """
    lock = _folder() / token_hex(8)
    with locked(lock):
        lock.write_text(_shown_store(uri), encoding="utf-8")
        yield lock.name


def let_go(holder: str) -> None:
    """Remove the lock file of a holder whose run is closed."""
    (_folder() / holder).unlink(missing_ok=True)


@contextmanager
def temporary_folder(holder: str) -> Iterator[Path]:
    """A folder that vanishes after use, or else with what is left of its holder."""
    with TemporaryDirectory(prefix=f"{holder}.", dir=_folder()) as folder:
        yield Path(folder)


def close_runs_of_dead_processes(client: MlflowClient, uri: str) -> None:
    """Close what a SIGKILL or a power cut left RUNNING: its lock file is here, but nobody holds it.

    A run is KILLED then; a trial's is FAILED, as the trial is, since KILLED stands for pruned.
    """
    experiments = [experiment.experiment_id for experiment in all_pages(client.search_experiments)]
    for lock in abandoned(_folder()):
        for left in _folder().glob(f"{lock.name}.*"):
            shutil.rmtree(left, ignore_errors=True)
        if lock.read_text(encoding="utf-8") in ("", _shown_store(uri)):  # else another store's
            tag = HOLDER_TAG + lock.name
            for run in list(all_pages(client.search_runs, experiments, f"tags.`{tag}` LIKE '%'")):
                _close(client, run, tag)
            lock.unlink()


def _close(client: MlflowClient, run: entities.Run, tag: str) -> None:
    held_by = [other for other in run.data.tags if other.startswith(HOLDER_TAG)]
    if run.info.status == "RUNNING" and held_by == [tag]:
        client.set_tag(run.info.run_id, FAILURE_TAG, "its process died", synchronous=True)
        client.set_terminated(run.info.run_id, "FAILED" if TRIAL_TAG in run.data.tags else "KILLED")
    client.delete_tag(run.info.run_id, tag)


def _folder() -> Path:
    return repository_root() / ".running"


def _shown_store(uri: str) -> str:
    """A store as a lock file names it: without secrets, and the same in a folder that was moved."""
    return shown(uri).replace(str(repository_root()), ".")
