import errno
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event

import pytest

from lifline.errors import LiflineError
from lifline.paths import repository_root
from lifline.system.files import replacing, sha256_of, write_bytes, write_csv, write_json


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "deep/report.json"
    write_json(path, {"accuracy": 0.5})
    with suppress(RuntimeError), replacing(path) as temporary:
        temporary.write_text("{ half")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"accuracy": 0.5}
    assert [entry.name for entry in path.parent.iterdir()] == ["report.json"]


def test_several_who_replace_one_file_at_once_all_succeed(tmp_path):
    path, second_is_done = tmp_path / "report", Event()

    def write_second():
        write_bytes(path, b"second")
        second_is_done.set()

    with ThreadPoolExecutor() as pool:
        with replacing(path) as temporary:
            second = pool.submit(write_second)
            second_is_done.wait(0.1)  # which it is at once where it does not wait for its turn
            temporary.write_bytes(b"first")
        second.result()
    assert path.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_goes(tmp_path):
    path, temporary = tmp_path / "report", tmp_path / ".report.tmp"
    temporary.write_bytes(b"half of a long report")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]
    temporary.write_bytes(b"half")
    with replacing(path):
        pass
    assert path.read_bytes() == b""


def test_a_file_gets_the_permissions_that_the_user_gives_files(tmp_path):
    (tmp_path / "plain").touch()
    write_bytes(tmp_path / "report", b"")
    assert (tmp_path / "report").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_folder_in_place_of_a_file_is_named(tmp_path):
    (tmp_path / "report").mkdir()
    with pytest.raises(IsADirectoryError) as raised:
        write_bytes(tmp_path / "report", b"")
    assert raised.value.filename == str(tmp_path / "report")
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


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
