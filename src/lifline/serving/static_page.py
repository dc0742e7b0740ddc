"""A page that needs no server: the network, and ONNX Runtime for browsers, in files beside it.

A browser fetches nothing for a page that it opens from a disk, so that all is in scripts, as base64. The page is that
of `lifline serve`; `static_page.js` stands for the server.
"""

import base64
import gzip
import json
from importlib.resources import files
from pathlib import Path

from lifline.choices import IMAGE
from lifline.errors import LiflineError, ModelError
from lifline.serving.predictor import Predictor
from lifline.serving.server import dataset_as_json
from lifline.serving.web_runtime import LOADER, PROGRAM, SCRIPT, web_runtime
from lifline.system.files import write_bytes

PAGE = "index.html"
RUNTIME, MODEL, NETWORK = "onnxruntime.js", "model.js", "network.js"
"""The scripts, in the order in which the page runs them."""

TAGS = "".join(f'<script src="{name}"></script>\n' for name in (RUNTIME, MODEL, NETWORK))


def write_page(predictor: Predictor, folder: Path) -> Path:
    """Write the page and its scripts into a folder, which is made; returns the page's path.

    Raises:
        LiflineError: the folder has another page, or ONNX Runtime for browsers cannot be had.
        ModelError: the network is shown spikes by rate, which are drawn outside of it.
    """
    if predictor.input != IMAGE:
        raise ModelError(f"{predictor.name} is coded by rate; allowed for a page is a network that is shown images")
    if (folder / PAGE).exists() and TAGS not in (folder / PAGE).read_text(errors="replace"):
        raise LiflineError(f"{folder / PAGE} is another page; name a new folder, or one of an earlier `lifline page`")
    page, network = (files("lifline.serving").joinpath(name).read_text() for name in ("page.html", "static_page.js"))
    contents = {
        RUNTIME: _runtime_script(),
        MODEL: _model_script(predictor),
        NETWORK: network,
        PAGE: page.replace("<script>", f"{TAGS}<script>", 1),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        write_bytes(folder / name, content.encode())
    return folder / PAGE


def _runtime_script() -> str:
    runtime = web_runtime()
    parts = {
        "loader": _as_base64(runtime[LOADER]),
        "program": _as_base64(gzip.compress(runtime[PROGRAM], mtime=0)),
    }
    return f"{runtime[SCRIPT].decode()}\nwindow.liflineRuntime = {json.dumps(parts)};\n"


def _model_script(predictor: Predictor) -> str:
    model = {
        "dataset": dataset_as_json(predictor.dataset),
        "membranes_decide": predictor.membranes_decide,
        "hidden": predictor.hidden,
        "onnx": _as_base64(predictor.content),
    }
    return f"window.liflineModel = {json.dumps(model)};\n"


def _as_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
