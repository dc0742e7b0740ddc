"""Predictions over HTTP, and a page to draw on or to give pictures to; by default for this machine alone."""

import asyncio
import base64
import hashlib
import re
import signal
import socket
import sys
from collections.abc import Mapping, Set
from importlib.resources import files
from types import FrameType
from typing import Any

import numpy as np
import uvicorn
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, QueryParams
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from lifline.data.info import DatasetInfo
from lifline.errors import PictureError
from lifline.serving.picture import FORMATS, read_picture
from lifline.serving.predictor import Decision, Prediction, Predictor
from lifline.serving.preparation import Pixels
from lifline.system.ports import HOST, is_own, listen
from lifline.system.signals import handlers_kept

HOSTS = (HOST, "localhost")
"""What a browser may call this server, unless it is open to the network, beside its address: by any other name it was
asked on behalf of a page from elsewhere."""

DRAWN_SHAPE = (1, 28, 28)
"""Of the images that can be drawn."""

DETAILS = "details"
"""The query that asks for each spike and the image, too."""

TYPES = tuple(FORMATS.values())
MAX_BYTES = 5_000_000
MAX_PIXELS = 25_000_000
START_OF_JPEG, START_OF_SCAN = b"\xff\xd8", b"\xff\xda"
MAX_SCANS = 100
"""Of a JPEG; it has about ten, each of which takes as long to decode as its pixels are many."""

MAX_CONNECTIONS = 100
MAX_REQUESTS = 200
"""Each has a picture in memory; those whose client has left are dropped when their turn comes."""

BACKLOG = 100
"""Connections that are accepted at once: some hundred open files more, where a process may have 1024."""

MAX_DECODED = 2
"""Pictures that are decoded at once; each takes up to 150 MB."""

HEAD_SECONDS = 10
"""In which a request's head must have come, after the connection was made or the last answer was sent."""

BODY_SECONDS = 10
"""In which the picture must have come, after the head."""

STOP_SECONDS = 2
"""In which requests may still be answered once the server is told to stop."""


def serve(predictor: Predictor, port: int, host: str = HOST) -> None:
    """Answer on a port, or with 0 on any free one, until interrupted.

    At another address than this machine's own, whoever reaches it over the network is answered, which is said.

    Raises:
        LiflineError: there is no such port or address, or it cannot be had.
    """
    with listen(port, host) as listening:
        address = f"http://{host}:{listening.getsockname()[1]}"
        if not is_own(host):
            print(f"warning: {host} is open to the network, to anyone and without encryption", file=sys.stderr)
        print(f"A network for {predictor.dataset.title} answers at {address} (Ctrl-C stops)", flush=True)
        server = http_server(predictor, host)
        with handlers_kept():
            if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
                signal.signal(signal.SIGHUP, server.handle_exit)  # it handles the other two of itself
            server.run(sockets=[listening])


def http_server(predictor: Predictor, host: str = HOST) -> uvicorn.Server:
    """What answers on sockets that are given to its `run`."""
    config = uvicorn.Config(
        application(predictor, host),
        loop="asyncio",
        http=_Connection,
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
        server_header=False,
        limit_concurrency=MAX_REQUESTS,
        backlog=BACKLOG,
    )
    return _Server(config)


class _Server(uvicorn.Server):
    """Stops in time, whoever keeps it waiting, and says nothing of it."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.should_exit = True  # a second signal changes nothing; uvicorn would print the requests that it cuts off

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().call_later(STOP_SECONDS, self._cut_off)
        await super().shutdown(sockets)

    def _cut_off(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()


class _Connection(H11Protocol):
    """HTTP where one who is slow keeps nobody waiting.

    A connection is closed if the head of its next request does not come in time. Where there are too many, the one is
    closed whose client has kept the server waiting for longest: for a head, for a picture, or to read an answer. That
    is the new one if all others are being answered.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()
        if len(self.connections) > MAX_CONNECTIONS:
            self._make_room()

    def on_response_complete(self) -> None:
        self._expect_head()  # first, since the next request may have come already
        super().on_response_complete()

    def _expect_head(self) -> None:
        self.waiting_since = self.loop.time()
        self.loop.call_later(HEAD_SECONDS, self._require_head_after, self.cycle)

    def _require_head_after(self, answered: object) -> None:
        if self.cycle is answered:  # a head that came whole has begun another
            self._drop()

    def _make_room(self) -> None:
        waiting = [each for each in self.connections if isinstance(each, _Connection) and each._waits_for_client()]
        min(waiting, key=lambda each: each.waiting_since)._drop()

    def _waits_for_client(self) -> bool:
        return self.cycle is None or self.cycle.more_body or self.cycle.response_started

    def _drop(self) -> None:
        self.connections.discard(self)
        self.transport.abort()


def application(predictor: Predictor, host: str = HOST) -> Starlette:
    """The page at `/`, what it tells of the data set at `/dataset`, predictions at `POST /predict`, and `/health`.

    A prediction is a class, its confidence and the classes' output spikes; `?details=true` gives every spike.
    """
    page = files("lifline.serving").joinpath("page.html").read_text(encoding="utf-8")
    headers = {
        "Content-Security-Policy": _only_its_own(page),
        "Cache-Control": "no-cache",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    decoding = asyncio.Semaphore(MAX_DECODED)

    async def predict(request: Request) -> Response:
        _check_headers(request.headers)
        answer = _detailed if _wants_details(request.query_params) else _decided
        picture = await _body(request)
        async with decoding:
            if await request.is_disconnected():
                raise HTTPException(400, "nobody waits for the answer")
            return JSONResponse(await run_in_threadpool(answer, predictor, picture))

    async def home(_: Request) -> Response:
        return HTMLResponse(page, headers=headers)

    async def dataset(_: Request) -> Response:
        return JSONResponse(dataset_as_json(predictor.dataset))

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    return Starlette(
        routes=[
            Route("/", home),
            Route("/dataset", dataset),
            Route("/predict", predict, methods=["POST"]),
            Route("/health", health),
        ],
        middleware=[Middleware(_OwnNames, names={*HOSTS, host})] if is_own(host) else [],
        exception_handlers={HTTPException: _refused, PictureError: _bad_picture, Exception: _failed},
    )


class _OwnNames:
    """Answers to some names alone."""

    def __init__(self, app: ASGIApp, names: Set[str]) -> None:
        self.app, self.names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = Headers(scope=scope).get("host", "").partition(":")[0].lower()
        allowed = " and ".join(sorted(self.names))
        app = self.app if name in self.names else _error(421, f"host is {name!r}; allowed are {allowed}")
        await app(scope, receive, send)


def _only_its_own(page: str) -> str:
    """A policy by which a browser runs the page's own script and style, and sends requests to its server alone."""
    hashes = {}
    for tag in ("script", "style"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        hashes[tag] = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{hashes['script']}'; style-src 'sha256-{hashes['style']}'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _check_headers(headers: Headers) -> None:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in TYPES:
        raise HTTPException(415, f"Content-Type is {kind!r}; allowed are {', '.join(TYPES)}")
    if int(headers.get("content-length", 0)) > MAX_BYTES:
        raise _too_large()


def _too_large() -> HTTPException:
    return HTTPException(413, f"the picture is too large; allowed are {MAX_BYTES:,} bytes")


async def _body(request: Request) -> bytes:
    picture = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                picture += piece
                if len(picture) > MAX_BYTES:
                    raise _too_large()
    except TimeoutError:
        close = {"Connection": "close"}
        raise HTTPException(408, f"the picture did not come within {BODY_SECONDS} seconds", close) from None
    except ClientDisconnect:
        raise HTTPException(400, "the picture did not come whole") from None
    if not picture:
        raise HTTPException(400, "the body is empty; it must be a picture")
    return bytes(picture)


def _wants_details(query: QueryParams) -> bool:
    asked = query.get(DETAILS, "false")
    if asked not in ("true", "false") or set(query) - {DETAILS}:
        raise HTTPException(400, f"the query is {str(query)!r}; allowed is {DETAILS}=true")
    return asked == "true"


def _decided(predictor: Predictor, picture: bytes) -> dict[str, Any]:
    """Class, confidence and the output spikes of each class."""
    (decision,) = predictor.decide(_image(predictor, picture)[None])
    classes = list(predictor.dataset.class_names)
    return _as_json(decision, classes, decision.counts)


def _detailed(predictor: Predictor, picture: bytes) -> dict[str, Any]:
    """The same, by step 0 or 1 for each class and the numbers of the hidden neurons that fire, and the image."""
    image = _image(predictor, picture)
    prediction = predictor.predict(image)
    counts = prediction.spikes.sum(0)
    return _as_json(prediction, prediction.classes, counts) | {
        "spikes": prediction.spikes.astype(int).tolist(),
        "num_hidden": prediction.hidden_spikes.shape[1],
        "hidden_spikes": [step.nonzero()[0].tolist() for step in prediction.hidden_spikes],
        "image": pixels_as_json(image),
    }


def _image(predictor: Predictor, picture: bytes) -> Pixels:
    if picture.startswith(START_OF_JPEG) and picture.count(START_OF_SCAN) > MAX_SCANS:
        raise PictureError(f"the file has too many scans; allowed are {MAX_SCANS}")
    return read_picture(picture, predictor.dataset, MAX_PIXELS)


def _as_json(answer: Decision | Prediction, classes: list[str], counts: NDArray[np.int64]) -> dict[str, Any]:
    return {
        "class": answer.decided,
        "is_decided": answer.is_decided,
        "confidence": answer.confidence,
        "classes": classes,
        "counts": counts.tolist(),
    }


def dataset_as_json(info: DatasetInfo) -> dict[str, Any]:
    """What the images of a data set are, and whether a drawing can be like them."""
    can_be_drawn = info.preparation != "plain" and info.shape == DRAWN_SHAPE
    return info.model_dump(include={"name", "title", "shape", "class_names", "preparation"}) | {
        "can_be_drawn": can_be_drawn
    }


def pixels_as_json(image: NDArray[np.float32]) -> list[Any]:
    """The rows of an image `[C, H, W]`: in each a number from 0 to 255 a pixel, or red, green and blue, `[H, W, 3]`."""
    levels = (image * 255).round().astype(int)
    rows: list[Any] = (levels[0] if len(image) == 1 else np.moveaxis(levels, 0, -1)).tolist()
    return rows


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, error.detail, error.headers)


async def _bad_picture(_: Request, error: Exception) -> Response:
    return _error(422, str(error))


async def _failed(_: Request, __: Exception) -> Response:
    return _error(500, "the server failed; what it printed tells why")


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": message}, status, headers)
