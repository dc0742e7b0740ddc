import errno
import json
from contextlib import suppress

import pytest

from lifline.errors import LiflineError
from lifline.paths import repository_root
from lifline.system.files import replacing, sha256_of, write_csv, write_json


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "deep/report.json"
    write_json(path, {"accuracy": 0.5})
    with suppress(RuntimeError), replacing(path) as temporary:
        temporary.write_text("{ half")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"accuracy": 0.5}
    assert [entry.name for entry in path.parent.iterdir()] == ["report.json"]


def test_an_error_without_a_name_gets_the_files(tmp_path):
    path = tmp_path / "model"
    with pytest.raises(OSError, match="No space left") as raised, replacing(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert raised.value.filename == str(path)


def test_a_table_is_plain_csv(tmp_path):
    write_csv(tmp_path / "a.csv", ["x", "y"], [(1, 0.5), (2, None)])
    assert (tmp_path / "a.csv").read_bytes() == b"x,y\n1,0.5\n2,\n"


def test_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_root_is_dvcs_or_the_nearest_with_a_dvc_yaml(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LiflineError, match=r"no dvc\.yaml here or above"):
        repository_root()
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert repository_root() == tmp_path
    monkeypatch.setenv("DVC_ROOT", "/elsewhere")
    assert str(repository_root()) == "/elsewhere"
