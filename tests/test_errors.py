import os
import subprocess
import sys

import pytest
import torch

from lifline.command import run_command
from lifline.errors import ParamsError
from lifline.system.signals import STOPPING


def ending(main, capsys) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        run_command(main)
    return ended.value.code, capsys.readouterr().err


def raising(error):
    def main():
        raise error

    return main


def test_success_is_silent(capsys):
    assert ending(lambda: None, capsys) == (0, "")


def test_a_users_error_is_one_line_and_exit_code_2(capsys):
    assert ending(raising(ParamsError("beta\nis 2")), capsys) == (2, "error: beta is 2\n")


def test_a_systems_error_names_its_file(capsys):
    assert ending(raising(OSError(28, "No space left on device", "a.json")), capsys) == (
        2,
        "error: a.json: No space left on device\n",
    )


def test_a_failed_copy_names_both_files(capsys):
    assert ending(raising(OSError(28, "No space left on device", "a", None, "b")), capsys) == (
        2,
        "error: a -> b: No space left on device\n",
    )


@pytest.mark.parametrize("number", STOPPING)
def test_an_interruption_says_so(capsys, number):
    assert ending(lambda: os.kill(os.getpid(), number), capsys) == (130, "error: interrupted\n")


def printing_to(stdout) -> tuple[int, str]:
    program = "from lifline.command import run_command; run_command(lambda: print('an answer'))"
    environment = os.environ | {"PYTHONUNBUFFERED": ""}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, env=environment, text=True, check=False)
    return done.returncode, done.stderr


def test_output_that_nobody_reads_ends_a_command_quietly():
    read, write = os.pipe()
    os.close(read)
    try:
        assert printing_to(write) == (1, "")
    finally:
        os.close(write)


def test_output_that_cannot_be_written_is_an_error():
    with open("/dev/full", "w", encoding="utf-8") as full:
        assert printing_to(full) == (2, "error: stdout: No space left on device\n")


def test_debug_shows_the_traceback(monkeypatch, capsys):
    monkeypatch.setenv("LIFLINE_DEBUG", "1")
    code, stderr = ending(raising(ParamsError("beta is 2")), capsys)
    assert code == 2
    assert "Traceback" in stderr
    assert stderr.endswith("error: beta is 2\n")


def test_debug_shows_no_password(monkeypatch, capsys):
    uri = "http://lifline:hunter-2@127.0.0.1:5000"
    monkeypatch.setenv("LIFLINE_DEBUG", "1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    _, stderr = ending(raising(ParamsError(f"API request to {uri}/api failed")), capsys)
    assert "Traceback" in stderr
    assert "hunter-2" not in stderr.removesuffix(stderr.splitlines(keepends=True)[-1])


@pytest.mark.parametrize(
    "main",
    [
        lambda: bytearray(2**62),
        lambda: torch.empty(2**60, dtype=torch.uint8),
        raising(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has 1 GiB.")),
        raising(RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)")),
    ],
)
def test_too_little_memory_names_what_to_make_smaller(main, capsys):
    code, stderr = ending(main, capsys)
    assert code == 2
    assert stderr.startswith("error: out of memory")
    assert stderr.count("\n") == 1
    for name in ("train.batch_size", "network.layers", "network.num_steps"):
        assert name in stderr


@pytest.mark.parametrize("bug", [ZeroDivisionError("division by zero"), RuntimeError("mat1 and mat2 do not fit")])
def test_a_bug_is_no_users_error(bug):
    with pytest.raises(type(bug)):
        run_command(raising(bug))
