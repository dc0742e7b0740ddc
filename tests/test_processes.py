"""A forked process is as a fresh one, in all that a test can see of it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import once
from tests.processes import ROOT, none_left_behind, run_python, start_python

AT_THE_END = """
import atexit, threading, time
def never_closed():
    try: yield
    finally: print("closed")
left = never_closed(); next(left)
atexit.register(print, "exit function")
threading.Thread(target=lambda: (time.sleep(0.1), print("thread"))).start()
print("main")
"""
WHAT_IT_SEES = """
import multiprocessing, os, signal, sys, threading
print(os.getcwd(), sys.argv, sys.path[0], sorted(os.environ.items()), __name__, __file__, sys.stdin.read())
print(sys.stdout.line_buffering, sys.stderr.line_buffering, os.getpgrp() == os.getsid(0) == os.getpid())
print([signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)])
print(threading.current_thread() is threading.main_thread(), threading.active_count(), multiprocessing.parent_process())
"""


def both_ways(*arguments, **options):
    """Exit code, output and error of the same from a fresh and from a forked Python."""
    options |= {"env": {"LANG": "C.UTF-8", **options.get("env", {})}}
    fresh = subprocess.run(
        [sys.executable, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        start_new_session=True, **options,
    )  # fmt: skip
    forked = start_python(*arguments, **options)
    output, error = forked.communicate()
    return (fresh.returncode, fresh.stdout, fresh.stderr), (forked.returncode, output, error)


@pytest.mark.parametrize(
    "program",
    [
        "print('done')",
        "import sys; sys.exit()",
        "import sys; sys.exit(7)",
        "import sys; sys.exit('in words')",
        "def f(): 1 / 0\nf()",
        "print('begun'); raise KeyboardInterrupt",
        "import os, signal; print('lost'); os.kill(os.getpid(), signal.SIGTERM)",
        "import os; os.write(1, b'first '); print('then'); os._exit(3)",
        "import subprocess; subprocess.run(['echo', 'from a child'])",
        AT_THE_END,
        AT_THE_END + "raise KeyboardInterrupt",
    ],
)
def test_ends_as_a_fresh_one(program):
    fresh, forked = both_ways("-c", program)
    assert without_source(forked) == without_source(fresh)


def without_source(ending):
    """Python 3.13 knows the lines of a program that is an argument of its own; a forked one looks at its parent's."""
    code, output, error = ending
    return code, output, [line for line in error.splitlines() if not line.startswith("    ")]


def test_sees_what_a_fresh_one_sees(tmp_path):
    settings = {"NAME": "value", "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src")}
    script = tmp_path / "script.py"
    script.write_text(f"import lifline.system.environment as e; e.settle()\n{WHAT_IT_SEES}")
    fresh, forked = both_ways(str(script), "argument", cwd=tmp_path, env=settings)
    assert forked[1].splitlines() == fresh[1].splitlines()
    assert forked == fresh


def test_its_server_has_one_thread():
    program = "import os; print(os.listdir(f'/proc/{os.getppid()}/task'))"
    assert run_python(program).stdout.count("'") == 2


def test_what_waits_for_the_fork_can_be_imported_after_it():
    done = run_python("import torch, onnxruntime; print(torch.ones(2).sum().item())")
    assert (done.returncode, done.stdout, done.stderr) == (0, "2.0\n", "")


def test_a_process_may_be_waited_for_signalled_and_killed_with_its_children(tmp_path):
    child = tmp_path / "child"
    program = "import subprocess, sys; print(subprocess.Popen(['sleep', '60']).pid, file=open(sys.argv[1], 'w'))"
    forked = start_python("-c", f"{program}; import time; time.sleep(60)", str(child))
    assert forked.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        forked.wait(timeout=0.01)
    while not (child.exists() and child.read_text()):
        time.sleep(0.01)
    forked.kill()
    assert forked.wait() == forked.poll() == -signal.SIGKILL
    assert has_ended(int(child.read_text()))
    forked.kill()
    forked.send_signal(signal.SIGINT)


def has_ended(pid):
    status = Path(f"/proc/{pid}/stat")
    while status.exists() and status.read_text().split()[2] != "Z":
        time.sleep(0.01)
    return True


def test_what_a_test_leaves_behind_is_killed():
    earlier = start_python("-c", "import time; time.sleep(60)")
    with none_left_behind():
        left = start_python("-c", "import time; time.sleep(60)")
    assert left.poll() == -signal.SIGKILL
    assert earlier.poll() is None


def test_what_cannot_start_says_so(tmp_path):
    with pytest.raises(ChildProcessError, match="did not start"):
        start_python("-c", "pass", cwd=tmp_path / "nowhere")


def test_once_makes_a_thing_once_and_whole(tmp_path_factory):
    made = []

    def make(path):
        made.append(path)
        path.mkdir()
        (path / "part").touch()
        if len(made) == 1:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        once(tmp_path_factory, "thing of a test", make)
    assert once(tmp_path_factory, "thing of a test", make) == once(tmp_path_factory, "thing of a test", make)
    assert len(made) == 2
