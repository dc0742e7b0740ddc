import pytest
import sqlalchemy

from lifline.errors import TrackingError
from lifline.tracking.uri import read_tracking_uri, sqlite_file


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:5000",
        "https://lifline:secret@mlflow.example.org/prefix",
        "sqlite:////tmp/mlflow.db",
        "postgresql://lifline@db.example.org/mlflow",
        "mysql+pymysql://lifline:secret@db.example.org:3306/mlflow?charset=utf8",
    ],
)
def test_what_mlflow_understands_is_taken(monkeypatch, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert read_tracking_uri() == uri


@pytest.mark.parametrize("value", [None, ""])
def test_the_stores_default_is_the_repositorys(monkeypatch, tmp_path, value):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    if value is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", value)
    assert sqlite_file(read_tracking_uri()) == tmp_path / "mlflow.db"


@pytest.mark.parametrize("name", ["a b", "50%20", "a%2Fb", "what?", "no#1", "me@home:80", "Größe", "a+b&c=d;e"])
def test_the_repository_may_lie_in_any_folder(monkeypatch, tmp_path, name):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / name))
    assert sqlite_file(read_tracking_uri()) == tmp_path / name / "mlflow.db"
    assert sqlalchemy.make_url(read_tracking_uri()).database == str(tmp_path / name / "mlflow.db")


@pytest.mark.parametrize(
    "uri",
    [
        "http://",
        "http://[bad",
        "http://host:port",
        "http://:5000",
        "foo://x",
        "postgresql://",
        "postgresql://host",
        "postgresql://host:port/mlflow",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///mlflow.db",
        "sqlite:relative",
        "sqlite://host/mlflow.db",
        "mlruns",
        "/srv/mlruns",
        "file:///srv/mlruns",
        "databricks",
    ],
)
def test_what_cannot_be_is_named_with_what_is_allowed(monkeypatch, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(TrackingError) as raised:
        read_tracking_uri()
    assert str(raised.value).startswith(f"MLFLOW_TRACKING_URI is '{uri}'; allowed is http(s)://HOST")
