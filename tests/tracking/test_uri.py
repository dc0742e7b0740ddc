import pytest
import sqlalchemy

from lifline.errors import TrackingError
from lifline.tracking.uri import censored, read_tracking_uri, shown, sqlite_file


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


@pytest.mark.parametrize(
    ("uri", "as_shown"),
    [
        ("http://lifline:se%20cret@host:5000", "http://lifline:***@host:5000"),
        ("http://secret-token@host", "http://***@host"),
        ("http://lifline:se@c/r?et@host", "http://lifline:***@host"),
        ("foo://lifline:secret@host", "foo://lifline:***@host"),
        ("postgresql://host/mlflow?user=lifline&password=secret", "postgresql://host/mlflow?***"),
        ("http://host:5000", "http://host:5000"),
    ],
)
def test_no_password_is_shown(uri, as_shown):
    assert shown(uri) == as_shown


@pytest.mark.parametrize(
    "uri", ["http://lifline:se%40cret@host", "http://se%40cret@host", "postgresql://host/mlflow?password=se%40cret"]
)
def test_no_password_is_left_in_a_message(monkeypatch, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "a token\n")
    message = censored(f"{uri} refuses se@cret and its header 'Bearer a token\\n'", uri)
    assert message == f"{uri.replace('se%40cret', '***')} refuses *** and its header 'Bearer ***\\n'"
