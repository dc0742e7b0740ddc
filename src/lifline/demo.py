"""A demonstration: a page that asks a trained network, and two of them compared in MLflow's UI, until Ctrl-C."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from tempfile import TemporaryFile
from typing import IO, Any, NoReturn

from lifline.errors import LiflineError
from lifline.params import read_params
from lifline.paths import ONNX_MODEL
from lifline.presets import preset_values
from lifline.system.ports import HOST, listen
from lifline.tracking.comparison import comparison_page, newest_model
from lifline.tracking.registry import NAME

RECIPE = "fast"
NETWORKS: tuple[Mapping[str, Any], ...] = ({}, {"network.num_steps": 5})
"""What is compared: the recipe, and with other params."""

LIFLINE = (sys.executable, "-c", "from lifline.cli import main; main()")
STOP_SECONDS = 10


def demo() -> None:
    """Train what is missing of two networks, serve page and UI on free ports, and print their links.

    A network is trained in a copy (`dvc exp run --temp`): params, models and reports of the working tree stay.

    Raises:
        LiflineError: a training failed, or a server did not start.
    """
    recipes = [{**preset_values(RECIPE), **values} for values in NETWORKS]
    for recipe in recipes:
        if newest_model(_logged(recipe)):
            print(f"{_title(recipe)}, is there already", flush=True)
            continue
        _train(recipe)
        if newest_model(_logged(recipe)) is None:
            _train(recipe, "--force")  # DVC has taken what it keeps of an earlier one
    runs = [run for recipe in recipes if (run := newest_model(_logged(recipe)))]
    model = [] if ONNX_MODEL.is_file() else ["--model", f"models:/{NAME}/latest"]
    print("starting the page and MLflow's UI", flush=True)
    with ExitStack() as stack:
        page = stack.enter_context(_server("serve", *model))
        ui = stack.enter_context(_server("ui"))
        links = {"draw a digit": f"{page}/", "compare two networks": f"{ui}/#/{comparison_page(runs)}"}
        print("\n".join(f"{what}: {link}" for what, link in links.items()) + "\nCtrl-C stops both", flush=True)
        if {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
            for link in links.values():
                webbrowser.open(link)
        _wait_for_the_interruption()


def _wait_for_the_interruption() -> NoReturn:
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        print("stopping the servers", flush=True)  # which takes seconds
        raise


def _title(values: Mapping[str, Any]) -> str:
    return f"{RECIPE}, {values['network.num_steps']} steps"


def _logged(recipe: Mapping[str, Any]) -> dict[str, str]:
    """A recipe's params as its runs have them."""
    values = read_params().with_values(recipe).flat()
    return {name: str(values[name]) for name in recipe}


def _train(values: Mapping[str, Any], *options: str) -> None:
    """Run the pipeline in a copy, with params that differ from those of the working tree."""
    now = read_params().flat()
    changes = {name: value for name, value in values.items() if value != now[name]} | {"export.formats": "[onnx]"}
    sets = [part for name, value in changes.items() for part in ("-S", f"{name}={value}")]
    print(f"training {_title(values)}", flush=True)
    with subprocess.Popen([sys.executable, "-m", "dvc", "exp", "run", "--temp", *options, *sets]) as training:
        try:
            code = training.wait()
        except KeyboardInterrupt:
            training.wait()  # it was interrupted, too, and tidies up
            raise
    if code:
        raise LiflineError(f"`dvc exp run --temp` ended with {code}; what it printed tells why")


@contextmanager
def _server(command: str, *arguments: str) -> Iterator[str]:
    """Run a command of lifline's that serves, on a free port; yields its address once it answers."""
    with listen(0) as free:
        port = free.getsockname()[1]
    address = f"http://{HOST}:{port}"
    with TemporaryFile() as log:  # MLflow's own would push the links out of sight
        command_line = [*LIFLINE, command, "--port", str(port), *arguments]
        server = subprocess.Popen(command_line, stdout=subprocess.DEVNULL, stderr=log)
        try:
            _wait_for(f"{address}/health", server, command, log)
            yield address
        finally:
            server.terminate()
            with suppress(subprocess.TimeoutExpired):
                server.wait(STOP_SECONDS)
            server.kill()
            server.wait()


def _wait_for(url: str, server: subprocess.Popen[bytes], command: str, log: IO[bytes]) -> None:
    """Wait until a server answers, however long that takes: Ctrl-C ends it."""
    while server.poll() is None:
        with suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - of this machine
            return
        time.sleep(0.2)
    log.seek(0)
    sys.stderr.write(log.read().decode(errors="replace"))
    raise LiflineError(f"`lifline {command}` has ended; what it printed tells why")
