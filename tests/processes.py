"""Python processes that start at once, forked from a server that has imported the libraries: an import takes 4 s.

Each is as a fresh `python` in what tests can see of it: working directory, environment, arguments, signals, output,
exit code, and what happens at its end. What libraries read from the environment when they are imported
(`OMP_NUM_THREADS`, which is 1, `PYTHONPATH`, what Numba has) is the server's; another of these needs a real process.
"""

import atexit
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager, suppress
from multiprocessing import forkserver, process
from multiprocessing.connection import Connection
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from lifline.system.environment import SETTINGS, settle

ROOT = Path(__file__).parents[1]
LIFLINE = "from lifline.cli import main; main()"
PRELOADED = ["tests.preloaded"]
SETTINGS_OF_OTHERS = ("DVC_", "LIFLINE_", "MLFLOW_TRACKING", "MLFLOW_RUN")  # mlflow.set_tracking_uri exports one

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(PRELOADED)
_main_process = multiprocessing.current_process()
_starting = threading.Lock()


class Process:
    """What tests need of `subprocess.Popen`; the process leads a group of its own, its output goes to files."""

    def __init__(
        self,
        arguments: list[str],
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        before: Callable[[], None] | None = None,
    ):
        self.args = arguments
        self._output, self._error = (tempfile.NamedTemporaryFile() for _ in range(2))  # noqa: SIM115
        outputs = self._output.name, self._error.name
        ready, at_work = _context.Pipe(duplex=False)
        settings = dict(os.environ if env is None else env)
        self._process = _context.Process(
            target=_be_python, args=(at_work, arguments, cwd or Path.cwd(), settings, outputs, before), daemon=True
        )
        with _starting, _without_a_main_module():
            with _settings_of_the_server():
                forkserver.ensure_running()
            self._process.start()
        at_work.close()
        with ready:
            try:
                ready.recv_bytes()
            except EOFError:
                self._process.join()
                raise ChildProcessError(f"{arguments} did not start: {self.communicate()}") from None
        _alive.add(self)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        _alive.discard(self)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end; standard output and error."""
        self.wait(timeout)
        return Path(self._output.name).read_text(), Path(self._error.name).read_text()

    def send_signal(self, number: int) -> None:
        """Send a signal to the process alone."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the whole group."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


_alive: set[Process] = set()


@contextmanager
def none_left_behind() -> Iterator[None]:
    """Kill what the body started and did not wait for."""
    before = set(_alive)
    yield
    for left in _alive - before:
        left.kill()
        left.wait()


def start_python(*arguments: str, **options) -> Process:
    """Start `python FILE ...` or `python -c PROGRAM ...`.

    Options are `cwd`, `env` (the whole environment) and `before`, which the process calls first.
    """
    return Process(list(arguments), **options)


def start_stage(name: str, folder: Path, **options) -> Process:
    """Start a stage as DVC does, in a folder."""
    return start_python(str(ROOT / "pipeline" / f"{name}.py"), cwd=folder, **options)


def start_lifline(*arguments: str, **options) -> Process:
    """Start a `lifline` command."""
    return start_python("-c", LIFLINE, *arguments, **options)


def run_python(program: str, *arguments: str, **options) -> subprocess.CompletedProcess:
    """Run `python -c PROGRAM ...` to its end."""
    return finished(start_python("-c", program, *arguments, **options))


def run_lifline(*arguments: str, **options) -> subprocess.CompletedProcess:
    """Run a `lifline` command to its end."""
    return finished(start_lifline(*arguments, **options))


def finished(started: Process) -> subprocess.CompletedProcess:
    """Wait for a process, as `subprocess.run` does."""
    output, error = started.communicate()
    return subprocess.CompletedProcess(started.args, started.returncode, output, error)


def clean_environment() -> dict[str, str]:
    """The environment without settings of the user's, of DVC's or of an earlier test's."""
    return {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS_OF_OTHERS)}


@contextmanager
def _settings_of_the_server() -> Iterator[None]:
    before = dict(os.environ)
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    one_thread = {"OMP_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
    settings = clean_environment() | one_thread | {"PYTHONPATH": path, "PYTHONUNBUFFERED": ""}
    try:
        _replace_environment(settings)
        with chdir(ROOT):
            yield
    finally:
        _replace_environment(before)


@contextmanager
def _without_a_main_module() -> Iterator[None]:
    """Hide pytest's own, which multiprocessing would run in the process that it starts."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _replace_environment(settings: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(settings)


def _be_python(
    at_work: Connection,
    arguments: list[str],
    folder: Path,
    settings: dict[str, str],
    outputs: tuple[str, str],
    before: Callable[[], None] | None,
) -> None:
    os.setsid()
    _replace_environment(settings)
    settle(SETTINGS)
    os.chdir(folder)
    _forget_the_server()
    for descriptor, name in enumerate([os.devnull, *outputs]):
        file = os.open(name, os.O_RDWR | os.O_APPEND)
        os.dup2(file, descriptor)
        os.close(file)
    at_work.send_bytes(b"1")
    at_work.close()
    if before is not None:
        before()
    is_program = arguments[0] == "-c"
    sys.argv = ["-c", *arguments[2:]] if is_program else arguments
    sys.path.insert(0, "" if is_program else str(Path(arguments[0]).parent))
    main = sys.modules["__main__"] = ModuleType("__main__")
    if is_program:
        code = compile(arguments[1], "<string>", "exec")
    else:
        code, main.__file__ = compile(Path(arguments[0]).read_bytes(), arguments[0], "exec"), arguments[0]
    _exit(_run_to_the_end(code, main.__dict__))


def _forget_the_server() -> None:
    """Undo in a forked process what makes it one."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    process._parent_process, process._current_process = None, _main_process
    tempfile.tempdir = None
    sys.stdout.reconfigure(line_buffering=bool(os.environ.get("PYTHONUNBUFFERED")))
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()


def _run_to_the_end(code: CodeType, names: dict[str, Any]) -> int:
    """Run code, and then what happens at an interpreter's end; the exit code, -2 after Ctrl-C."""
    exit_code = _run(code, names)
    threading._shutdown()
    atexit._run_exitfuncs()
    names.clear()
    gc.collect()
    sys.stdout.flush()
    return exit_code


def _run(code: CodeType, names: dict[str, Any]) -> int:
    try:
        exec(code, names)  # noqa: S102
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException as error:
        sys.excepthook(type(error), error.with_traceback(error.__traceback__.tb_next), None)
        return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _exit(code: int) -> None:
    """End the process, by the signal where the code is one's."""
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        signal.raise_signal(-code)
    os._exit(code & 0xFF)  # no time goes into the clearing of libraries
