"""How a command ends: with exit code 0, or in one line that says why not."""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from lifline.errors import LiflineError, is_out_of_memory
from lifline.system.secrets import censored
from lifline.system.signals import interrupt_on_signals

USER_ERROR = 2
INTERRUPTED = 128 + signal.SIGINT
NOBODY_READS = 1
EXTRA_OF = {
    **dict.fromkeys(("dvc", "h5py", "matplotlib", "mlflow", "nir", "norse", "onnx", "onnxscript"), "pipeline"),
    **dict.fromkeys(("ruamel", "safetensors", "snntorch", "torchvision"), "pipeline"),
    **dict.fromkeys(("starlette", "uvicorn"), "serving"),
    "optuna": "tuning",
}
"""The extra of the package that alone brings a library; others, several extras bring."""


class ResumableInterrupt(BaseException):
    """An interruption after which the same command goes on where it was."""


@contextmanager
def resumable() -> Iterator[None]:
    """Say of an interruption in the body, or in the function that this decorates, that the same command goes on."""
    try:
        yield
    except KeyboardInterrupt:
        raise ResumableInterrupt from None


def run_stage(main: Callable[[], None]) -> NoReturn:
    """Run a stage of the pipeline as a command: interrupted, the same `dvc repro` goes on."""
    run_command(resumable()(main))


def run_command(main: Callable[[], None]) -> NoReturn:
    """Run a command's `main` and exit: 0 when done, 2 on a user's error or too little memory, 130 when interrupted.

    1, without a word, where what reads its output has ended, as `head` does.

    SIGTERM and SIGHUP interrupt like Ctrl-C, so that a stopped run is closed and temporary files are removed.
    `LIFLINE_DEBUG=1` shows the traceback of a user's error, too.
    """
    interrupt_on_signals()
    try:
        try:
            main()
        finally:
            _write_out()
    except KeyboardInterrupt:
        _say("interrupted")
        sys.exit(INTERRUPTED)
    except ResumableInterrupt:
        _say("interrupted; the same command goes on")
        sys.exit(INTERRUPTED)
    except Exception as error:
        message = _describe(error)
        if message is None:
            raise
        if os.environ.get("LIFLINE_DEBUG") == "1":
            print(censored(traceback.format_exc(), os.environ.get("MLFLOW_TRACKING_URI", "")), file=sys.stderr)
        _say(message)
        sys.exit(USER_ERROR)
    sys.exit(0)


def _write_out() -> None:
    """Write what was printed; where nobody reads it any more, end without a word."""
    try:
        print(end="", flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python tries again when it exits
        if isinstance(error, BrokenPipeError):
            sys.exit(NOBODY_READS)
        raise OSError(error.errno, error.strerror, "stdout") from None


def _describe(error: Exception) -> str | None:
    """What went wrong, in a line; None where it is a bug of ours."""
    if isinstance(error, OSError) and error.filename is not None:
        files = error.filename if error.filename2 is None else f"{error.filename} -> {error.filename2}"
        return f"{files}: {error.strerror}"
    if isinstance(error, LiflineError | OSError):
        return " ".join(str(error).split())
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("lifline"):
        extra = EXTRA_OF.get(str(error.name).partition(".")[0], "all")
        return f"{error.name} is not installed; pip install '.[{extra}]' in a clone brings what is needed"
    if is_out_of_memory(error):
        return "out of memory; make train.batch_size, network.layers or network.num_steps in params.yaml smaller"
    return None


def _say(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
