import os
import signal

import pytest

from lifline.errors import ParamsError, run_command


@pytest.fixture(autouse=True)
def sigterm_as_before():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


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


def test_an_interruption_says_so(capsys):
    assert ending(raising(KeyboardInterrupt), capsys) == (130, "error: interrupted\n")
    assert ending(lambda: os.kill(os.getpid(), signal.SIGTERM), capsys) == (130, "error: interrupted\n")


def test_debug_shows_the_traceback(monkeypatch, capsys):
    monkeypatch.setenv("LIFLINE_DEBUG", "1")
    code, stderr = ending(raising(ParamsError("beta is 2")), capsys)
    assert code == 2
    assert "Traceback" in stderr
    assert stderr.endswith("error: beta is 2\n")


def test_a_bug_is_no_users_error():
    with pytest.raises(ZeroDivisionError):
        run_command(lambda: print(1 / 0))
