"""Studies in a real PostgreSQL, of a throw-away cluster."""

import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lifline.tuning.postgresql import PostgresStore
from lifline.tuning.study import DRIVER, counted, retry_of
from lifline.tuning.winner import all_studies
from tests.tracking.runs import wait_for
from tests.tuning.studies import LIFLINE, finish, runs

pytestmark = pytest.mark.slow

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [Path(shutil.which("initdb") or "/nowhere").parent]
PASSWORD = "se:cr@t"  # noqa: S105 - of a server that lives as long as the tests
URL_PASSWORD = "se%3Acr%40t"  # noqa: S105
UNPRIVILEGED = "nobody"


class Cluster:
    """A PostgreSQL server on a socket in a folder of its own, owned by a user who is not root."""

    def __init__(self, folder):
        self.folder = folder
        self.data = folder / "data"
        self.user = {"user": UNPRIVILEGED, "group": pwd.getpwnam(UNPRIVILEGED).pw_gid} if os.getuid() == 0 else {}
        if self.user:
            shutil.chown(folder, *self.user.values())
        password = folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self.run("initdb", "--username", "team", "--auth", "scram-sha-256", "--pwfile", password, "--no-sync")

    @property
    def url(self):
        return f"postgresql://team:{URL_PASSWORD}@/postgres?host={self.folder}"

    def start(self):
        options = f"-c listen_addresses='' -c unix_socket_directories='{self.folder}' -c fsync=off"
        self.run("pg_ctl", "--wait", "--log", self.folder / "log", "--options", options, "start")

    def stop(self):
        self.run("pg_ctl", "--wait", "--mode", "immediate", "stop")

    def run(self, program, *arguments):
        command = [BINARIES[-1] / program, "--pgdata", self.data, *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.folder, **self.user)


@pytest.fixture(scope="module")
def cluster():
    if not (BINARIES[-1] / "initdb").is_file():
        pytest.skip("PostgreSQL's server programs (initdb, pg_ctl) are not on this machine")
    with TemporaryDirectory() as folder:  # where the unprivileged user may go, with a path short enough for a socket
        made = Cluster(Path(folder))
        made.start()
        yield made
        made.stop()


@pytest.fixture
def store(cluster, ready):
    """The cluster, without studies."""
    store = PostgresStore(cluster.url)
    for study in all_studies(store):
        store.optuna.delete_study(study._study_id)
    return store


def trials(store):
    return [trial for study in all_studies(store) for trial in study.trials]


def tuning(url, num_trials):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "LIFLINE_STORAGE": url}
    return subprocess.Popen(
        [*LIFLINE, "tune", "--trials", str(num_trials)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


def test_two_drivers_share_the_budget_exactly(store, ready):
    drivers = [tuning(store.url, 7) for _ in range(2)]
    outputs = [driver.communicate() for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], outputs
    found = trials(store)
    assert len(found) == 7
    assert {trial.state.name for trial in found} <= {"COMPLETE", "PRUNED"}
    assert len({trial.user_attrs[DRIVER] for trial in found}) == 2
    parent, children = runs(ready)
    assert parent.info.status == "FINISHED"
    assert sorted(run.data.tags["trial"] for run in children) == [str(number) for number in range(7)]
    assert not (ready / "optuna.journal").exists()


def test_the_trials_of_a_driver_that_was_killed_are_done_by_the_other(store, ready):
    killed, other = tuning(store.url, 6), tuning(store.url, 6)
    wait_for(
        lambda: len({trial.user_attrs[DRIVER] for trial in trials(store) if DRIVER in trial.user_attrs}) == 2, killed
    )
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    outputs = other.communicate()
    assert other.returncode == 0, outputs
    found = trials(store)
    assert len(counted(found)) == 6
    assert {trial.state.name for trial in counted(found)} <= {"COMPLETE", "PRUNED"}
    num_retries = sum(retry_of(trial) is not None for trial in found)
    assert num_retries <= 1  # none where it was killed between two trials
    assert len(found) == 6 + num_retries
    parent, children = runs(ready)
    assert parent.info.status == "FINISHED"
    assert "RUNNING" not in {run.info.status for run in children}


def test_a_study_is_promoted_from_there(store, ready, command, monkeypatch):
    finish(num_trials=2, storage=store.url)
    monkeypatch.setenv("LIFLINE_STORAGE", store.url)
    code, out, _ = command("studies")
    assert (code, out.splitlines()[0]) == (0, "1 in postgresql://team:***@/postgres?***")
    assert command("promote", "--trial", "1")[0] == 0


def test_a_server_that_goes_away_ends_the_study_and_the_study_goes_on(store, cluster, ready):
    driver = tuning(store.url, 50)
    wait_for(lambda: len(trials(store)) >= 2, driver)
    cluster.stop()
    try:
        _, error = driver.communicate()
    finally:
        cluster.start()
    assert driver.returncode == 2
    assert error.startswith("error: studies at postgresql://team:***@/postgres?*** do not work: ")
    assert error.count("\n") == 1
    parent, children = runs(ready)
    assert parent.info.status == "FAILED"
    assert {run.info.status for run in children} <= {"FINISHED", "FAILED"}  # it may go away between two trials
    done = len(counted(finish(num_trials=1, storage=store.url)))
    assert len(counted(finish(num_trials=done + 1, storage=store.url))) == done + 1


def test_interrupted_it_says_so(store, ready):
    driver = tuning(store.url, 50)
    wait_for(lambda: len(trials(store)) >= 2, driver)
    driver.send_signal(signal.SIGINT)
    _, error = driver.communicate()
    assert (driver.returncode, error) == (130, "error: interrupted; the same command goes on\n")
    assert "RUNNING" not in {trial.state.name for trial in trials(store)}
    assert runs(ready)[0].info.status == "KILLED"


def test_tables_that_may_not_be_made_are_an_error(store, ready, command):
    import sqlalchemy

    engine = sqlalchemy.create_engine(store.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("create role guest login password 'guest'"))
        connection.execute(sqlalchemy.text("create database other"))
    code, _, error = command(
        "tune", "--storage", store.url.replace(f"team:{URL_PASSWORD}", "guest:guest").replace("postgres?", "other?")
    )
    assert code == 2
    assert "permission denied for schema public" in error
    assert error.count("\n") == 1
