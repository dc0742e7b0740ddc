import pytest

from lifline.errors import TrackingError
from lifline.tracking.uri import read_tracking_uri


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
    assert read_tracking_uri() == f"sqlite:///{tmp_path}/mlflow.db"


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
