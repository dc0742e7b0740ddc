import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from lifline.system.locks import abandoned, locked
from tests.conftest import ROOT


@pytest.fixture
def holder(tmp_path):
    """Another process that holds a lock, and has a child of its own."""
    program = (
        "import subprocess, sys, time; from pathlib import Path; from lifline.system.locks import locked\n"
        "with locked(Path(sys.argv[1])):\n"
        "    subprocess.Popen(['sleep', '60'])\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "folder/lock")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        os.killpg(process.pid, signal.SIGKILL)


def test_a_lock_is_held_while_its_process_lives_and_not_by_what_it_started(holder, tmp_path):
    path = tmp_path / "folder/lock"
    with pytest.raises(BlockingIOError, match="folder/lock"), locked(path, wait=False):
        pass
    assert list(abandoned(path.parent)) == []
    holder.kill()
    holder.wait()
    assert list(abandoned(path.parent)) == [path]
    with locked(path):
        assert list(abandoned(path.parent)) == []


def test_who_holds_a_lock_may_remove_its_file(tmp_path):
    path, second_holds = tmp_path / "lock", Event()

    def hold():
        with locked(path):
            second_holds.set()
            return path.exists()

    with ThreadPoolExecutor() as pool:
        with locked(path):
            second = pool.submit(hold)
            second_holds.wait(0.1)  # long enough for it to come to the lock
            path.unlink()
        assert second.result()


def test_a_lock_that_vanishes_while_others_are_looked_at_is_not_made_anew(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).touch()
    seen = abandoned(tmp_path)
    first = next(seen)
    for path in tmp_path.iterdir():
        path.unlink()
    assert list(seen) == []
    assert first.name in {"a", "b"}
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_has_no_locks(tmp_path):
    assert list(abandoned(tmp_path / "none")) == []
