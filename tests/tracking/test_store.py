"""The store as a file: however its making ends, however its checkout moves."""

import itertools
import os
import random
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import mlflow
import mlflow.cli
import pytest
import sqlalchemy
from click.testing import CliRunner
from mlflow.exceptions import MlflowException
from mlflow.store.db import utils as mlflow_tables

from lifline.errors import TrackingError
from lifline.params import read_params
from lifline.tracking import runs as tracking
from lifline.tracking.champion import make_champion
from lifline.tracking.client import client_of
from lifline.tracking.registry import read_onnx
from lifline.tracking.store import all_pages, open_store, reason, store, translated_errors
from lifline.tracking.uri import read_tracking_uri, sqlite_uri
from tests.conftest import ROOT, assert_one_line_error
from tests.tracking.runs import all_runs, artifacts, tiny_onnx

URI = "models:/lifline@champion"

OPEN = "from lifline.tracking.store import open_store; from lifline.tracking.uri import read_tracking_uri\n"
OPEN += "open_store(read_tracking_uri(), 'lifline')"


def die_at(number, work):
    """Do this in a process that dies, as of SIGKILL, after so many statements; another one would have to import all."""
    statements = itertools.count(1)
    if (child := os.fork()) == 0:
        sqlalchemy.event.listen(
            sqlalchemy.Engine, "after_cursor_execute", lambda *_: next(statements) == number and os._exit(9)
        )
        try:
            work()
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def open_default():
    return open_store(read_tracking_uri(), "lifline")


def assert_store_works(folder):
    open_default()
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    assert {found.name for found in client.search_experiments()} == {"Default", "lifline"}
    assert {file.name for file in folder.glob("*mlflow*")} == {"mlflow.db", "mlflow.db.lock"}


@pytest.mark.parametrize("number", [60, 300])
def test_a_store_whose_making_was_cut_short_is_made_by_the_next(workspace, number):
    die_at(number, open_default)
    assert_store_works(workspace)


def test_a_store_that_mlflow_itself_made_by_half_is_made_anew(workspace):
    die_at(60, lambda: mlflow.MlflowClient("sqlite:///mlflow.db"))
    assert (workspace / "mlflow.db").stat().st_size
    with pytest.raises(TrackingError, match="there is no store"), store():
        pass
    assert_store_works(workspace)


@pytest.mark.slow
def test_a_store_survives_kills_at_any_time_of_its_making(workspace):
    chance, environment = random.Random(0), {**os.environ, "PYTHONPATH": str(ROOT / "src")}  # noqa: S311
    for _ in range(10):
        opening = subprocess.Popen([sys.executable, "-c", OPEN], env=environment, stderr=subprocess.DEVNULL)
        while not (workspace / "mlflow.db.lock").exists() and opening.poll() is None:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 2))
        opening.send_signal(chance.choice([signal.SIGKILL, signal.SIGINT]))
        opening.wait()
        assert_store_works(workspace)
        for file in workspace.glob("mlflow.db*"):
            file.unlink()


def test_tables_of_others_are_not_lost(workspace):
    with closing(sqlite3.connect(workspace / "mlflow.db")) as file:
        file.execute("CREATE TABLE mine (x)")
        open_default()
        assert file.execute("SELECT * FROM mine").fetchall() == []


def downgraded(path):
    """Take a store back to the tables of its first version, as far as experiments go; returns an older program's."""
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA journal_mode = WAL")  # as users may set it
    engine = sqlalchemy.create_engine(sqlite_uri(path))
    mlflow_tables.InitialBase.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("INSERT INTO experiments VALUES (1, 'lifline', 'file:///a', 'active')"))
    engine.dispose()


def test_an_older_store_is_brought_up_to_date_whole_or_not_at_all(workspace):
    downgraded(workspace / "mlflow.db")
    before = tables(workspace)
    die_at(100, open_default)
    assert tables(workspace) == before
    assert open_default() == "1"
    assert "registered_models" in tables(workspace)


def tables(workspace):
    with closing(sqlite3.connect(workspace / "mlflow.db")) as file:
        return {name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def test_a_store_that_is_written_to_meanwhile_is_not_upgraded(workspace, monkeypatch):
    downgraded(workspace / "mlflow.db")
    initialize = mlflow_tables._initialize_tables

    def upgrade_beside_a_writer(engine):
        initialize(engine)
        with closing(sqlite3.connect(workspace / "mlflow.db")) as other, other:
            other.execute("UPDATE experiments SET name = 'another'")

    monkeypatch.setattr(mlflow_tables, "_initialize_tables", upgrade_beside_a_writer)
    with pytest.raises(TrackingError, match="written to by another program"):
        open_default()
    with closing(sqlite3.connect(workspace / "mlflow.db")) as file:
        assert file.execute("SELECT name FROM experiments").fetchall() == [("another",)]


def test_a_newer_store_is_left_as_it_is(store):
    with closing(sqlite3.connect("mlflow.db")) as file, file:
        file.execute("UPDATE alembic_version SET version_num = 'of the future'")
    before = Path("mlflow.db").read_bytes()
    with pytest.raises(TrackingError, match=r"tables of another MLflow.*of the future"):
        open_default()
    assert Path("mlflow.db").read_bytes() == before


@pytest.fixture
def champion(export):
    """A checkout with a run and a champion."""
    export(0.9)
    make_champion(None, False, read_params())


def enter(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # as MLflow leaves it, for child processes


def files_of(folder):
    return {path.relative_to(folder) for path in folder.rglob("*")}


ODD = "50%20 a%2Fb? #1 ü@:;&"


@pytest.mark.parametrize("way", [shutil.move, lambda old, new: shutil.copytree(old, new, symlinks=True)])
def test_a_checkout_that_was_moved_or_copied_has_its_own_files(
    champion, workspace, params, monkeypatch, tmp_path_factory, way
):
    new = tmp_path_factory.mktemp("elsewhere") / ODD
    way(workspace, new)
    enter(new, monkeypatch)
    before = files_of(workspace)
    assert read_onnx(URI) == tiny_onnx().SerializeToString()
    with tracking.training_run(params, "cpu") as run:
        run.log_files(Path("dvc.yaml"))
    assert files_of(workspace) == before
    client = client_of(read_tracking_uri())
    assert [artifacts(client, run) for run in all_runs(client)] == [{"params.yaml"}, {"params.yaml", "dvc.yaml"}]
    for run in all_runs(client):
        assert (new / "mlartifacts" / run.info.run_id / "artifacts/params.yaml").is_file()
    shutil.rmtree(workspace, ignore_errors=True)
    assert make_champion(None, False, read_params()) == "version 1 is the champion already; no other is better"
    assert read_onnx(URI) == tiny_onnx().SerializeToString()
    assert not list(new.parent.glob("50%2520*"))


def test_a_store_whose_files_were_left_behind_is_refused(champion, workspace, monkeypatch, tmp_path_factory):
    new = tmp_path_factory.mktemp("elsewhere")
    for name in ("dvc.yaml", "mlflow.db"):
        shutil.copy(workspace / name, new)
    enter(new, monkeypatch)
    with pytest.raises(TrackingError, match=f"comes from {workspace}.* not here; copy .* to {new}/mlartifacts"):
        read_onnx(URI)
    shutil.copytree(workspace / "mlartifacts", new / "mlartifacts")
    shutil.rmtree(workspace / "mlartifacts")
    assert read_onnx(URI) == tiny_onnx().SerializeToString()


def test_a_store_that_two_checkouts_share_stays_as_it_is(champion, workspace, params, monkeypatch, tmp_path_factory):
    new = tmp_path_factory.mktemp("elsewhere")
    shutil.copy("dvc.yaml", new)
    enter(new, monkeypatch)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace}/mlflow.db")
    assert read_onnx(URI) == tiny_onnx().SerializeToString()
    with tracking.study_run(params, "a study") as run:
        run.log_files(Path("dvc.yaml"))
    enter(workspace, monkeypatch)
    assert read_onnx(URI) == tiny_onnx().SerializeToString()
    assert not (new / "mlartifacts").exists()


@pytest.mark.parametrize(
    ("pragma", "words"),
    [("max_page_count = 1", "database or disk is full"), ("query_only = on", "attempt to write a readonly database")],
)
def test_a_disk_that_takes_no_more_is_named(store, pragma, words):
    """MLflow's own words tell of an autoflush, and where to read about that."""
    uri, experiment = f"sqlite:///{Path.cwd()}/mlflow.db", store.create_experiment("another")

    def spoil(connection, *_):
        connection.execute(f"PRAGMA {pragma}")

    sqlalchemy.event.listen(sqlalchemy.pool.Pool, "checkout", spoil)
    try:
        with pytest.raises(TrackingError) as raised, translated_errors(uri):
            _ = [store.create_run(experiment, tags={"long": "x" * 3000}) for _ in range(100)]
    finally:
        sqlalchemy.event.remove(sqlalchemy.pool.Pool, "checkout", spoil)
    assert str(raised.value) == f"MLflow at {uri} does not work: {words}"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_bytes(b"no store" * 1000), "file is not a database"),
        (lambda path: path.write_bytes(path.read_bytes()[:20_000]), "malformed"),
        (lambda path: (path.unlink(), path.mkdir()), "unable to open database file"),
        (lambda path: sqlite3.connect(path).execute("DROP TABLE runs"), "no such table: runs"),
    ],
)
def test_a_store_that_is_damaged_is_named(champion, lifline, damage, words):
    damage(Path("mlflow.db"))
    assert_one_line_error(lifline("compare", "one", "two")[::2], "mlflow.db does not work: ", words)


def test_a_store_that_another_program_locks_is_named(champion, lifline, monkeypatch):
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, **options: connect(path, **(options | {"timeout": 0})))
    with closing(connect("mlflow.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert_one_line_error(lifline("champion")[::2], "mlflow.db does not work: database is locked")


def chained(*errors):
    """The last of these errors, each raised while the one before was handled."""
    try:
        if len(errors) > 1:
            raise chained(*errors[:-1])
    except BaseException:
        try:
            raise errors[-1]
        except type(errors[-1]) as last:
            return last
    return errors[-1]


LOST = sqlalchemy.exc.PendingRollbackError("Can't reconnect until invalid transaction is rolled back.")


def test_what_came_of_a_lost_connection_names_that():
    gone = sqlalchemy.exc.OperationalError("UPDATE runs", {}, sqlite3.OperationalError("disk I/O error"))
    assert reason(chained(gone, LOST, MlflowException(LOST))) == "disk I/O error"
    refused = ConnectionRefusedError(111, "Connection refused")
    assert reason(chained(refused, gone, LOST)) == "Connection refused"


def test_errors_that_were_raised_for_each_other_have_a_reason():
    one, other = ValueError("one"), ValueError("other")
    one.__context__, other.__cause__ = other, one
    assert reason(one) == "one"


def test_what_came_of_an_interruption_is_one():
    with pytest.raises(KeyboardInterrupt), translated_errors("sqlite:////mlflow.db"):
        raise chained(KeyboardInterrupt(), LOST)


def test_a_deleted_experiment_can_be_had_back(store, lifline):
    experiment = open_default()
    store.delete_experiment(experiment)
    with pytest.raises(TrackingError) as raised:
        open_default()
    setting, _, *arguments = shlex.split(str(raised.value).partition("to have it back: ")[2])
    CliRunner().invoke(mlflow.cli.cli, arguments, env=dict([setting.split("=", 1)]), catch_exceptions=False)
    assert open_default() == experiment


def test_all_pages_are_read(store):
    experiment = store.create_experiment("another")
    runs = {store.create_run(experiment).info.run_id for _ in range(5)}
    found = [run.info.run_id for run in all_pages(store.search_runs, [experiment], max_results=2)]
    assert len(found) == 5
    assert set(found) == runs
