import re
import signal
import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from io import BytesIO

import numpy as np
import pytest
import requests
from PIL import Image, ImageOps

from lifline.serving import server
from lifline.serving.predictor import Decision, Predictor
from lifline.system.signals import STOPPING
from tests.conftest import MNIST, assert_one_line_error
from tests.serving.quick_model import (
    COLOURED,
    EMNIST,
    FASHION,
    KUZUSHIJI,
    NUM_HIDDEN,
    NUM_STEPS,
    SMALL,
    serving,
    silent_model,
    untrained_model,
)

PNG = {"Content-Type": "image/png"}
ANYWHERE = "0.0.0.0"  # noqa: S104 - what is warned of


def picture_of(image) -> bytes:
    content = BytesIO()
    ImageOps.invert(Image.fromarray(image).resize((140, 140))).save(content, "PNG")
    return content.getvalue()


def blank(width, height, mode="L") -> bytes:
    content = BytesIO()
    Image.new(mode, (width, height), "white").save(content, "PNG", compress_level=1)
    return content.getvalue()


@pytest.fixture(scope="module")
def pictures(test_images):
    """A picture of each digit."""
    labels = test_images.labels.tolist()
    return [picture_of(test_images.images[labels.index(digit), 0].numpy()) for digit in range(10)]


@pytest.fixture(scope="module")
def predictor(model):
    return Predictor(str(model))


@contextmanager
def answering(predictor):
    """The address of a server in this process, whose limits a test may have changed."""
    with in_thread(predictor) as (_, url):
        yield url


@contextmanager
def in_thread(predictor):
    http = server.http_server(predictor)
    with server.listen(0) as listening:
        thread = threading.Thread(target=http.run, args=([listening],))
        thread.start()
        try:
            yield http, f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            http.should_exit = True
            thread.join(timeout=30)
            assert not thread.is_alive()


class Held:
    """A predictor that has no answer until it is released."""

    def __init__(self, predictor):
        self.predictor, self.dataset = predictor, MNIST
        self.asked, self.released = threading.Semaphore(0), threading.Event()

    def decide(self, images):
        self.asked.release()
        assert self.released.wait(timeout=30)
        return self.predictor.decide(images)


def connect(url) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=30)


GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
HALF_A_HEAD = b"GET / HTTP/1.1\r\nHost: "
POST = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n"
HALF_A_PICTURE = POST % 100 + b"abc"
HALF_REFUSED = (POST % 1000).replace(b"image/png", b"text/plain") + b"abc"


class Verbose:
    """A predictor whose answer of 20 MB does not fit what the system keeps for a connection."""

    dataset = MNIST

    def decide(self, images):
        return [Decision("long name" * 2_000_000, 0, np.zeros(10, int), is_decided=True)]


def half_sent(url, beginning=HALF_A_PICTURE) -> socket.socket:
    """A connection with the beginning of a request."""
    connection = connect(url)
    connection.sendall(beginning)
    return connection


@contextmanager
def unread_answer(http, url, picture):
    """A connection that takes in no more than the beginning of its answer, which has been sent."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        connection.sendall(POST % len(picture) + picture)
        wait_for(lambda: http.server_state.total_requests == 1)
        yield


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def drip_until_closed(connection):
    """Send a byte at a time, as one does who wants to keep the server waiting."""
    connection.settimeout(0.05)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if not connection.recv(10_000):
                return
        except TimeoutError:
            connection.send(b"x")
        except ConnectionError:
            return
    pytest.fail("the connection is not closed")


def in_background(url, content) -> Future:
    """A request of its own thread."""
    return ThreadPoolExecutor(1).submit(ask, url, content)


def ask(url, content, query="", **headers):
    return requests.post(f"{url}/predict{query}", data=content, headers=PNG | headers, timeout=60)


def assert_refused(response, status, *parts):
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/json"
    (error,) = response.json().values()
    for part in parts:
        assert part in error


def test_a_picture_gets_its_class_and_the_spikes_of_each_class(url, predictor, pictures):
    for content in pictures:
        answer = ask(url, content).json()
        prediction = predictor.predict(server.read_picture(content, MNIST))
        assert answer == {
            "class": prediction.decided,
            "is_decided": True,
            "confidence": prediction.confidence,
            "classes": prediction.classes,
            "counts": prediction.spikes.sum(0).tolist(),
        }
        assert answer == ask(url, content, "?details=false").json()


def test_where_no_output_neuron_fires_the_answer_is_not_decided(model, tmp_path, pictures):
    with answering(Predictor(str(silent_model(model, tmp_path / "silent.onnx")))) as url:
        for query in ("", "?details=true"):
            answer = ask(url, pictures[3], query).json()
            assert answer["is_decided"] is False
            assert answer["counts"] == [0] * 10


@pytest.mark.parametrize("query", ["?details=yes", "?details", "?detail=true", "?details=true&x=1", "?x"])
def test_another_query_is_refused(url, pictures, query):
    assert_refused(ask(url, pictures[0], query), 400, f"the query is '{query[1:]}", "; allowed is details=true")


def test_details_are_each_spike_and_the_image(url, predictor, pictures):
    for content in pictures:
        answer = ask(url, content, "?details=true").json()
        assert answer.items() >= ask(url, content).json().items()
        image = np.array(answer["image"], dtype=np.float32) / 255
        assert image.shape == (28, 28)
        prediction = predictor.predict(server.read_picture(content, MNIST))
        assert answer["class"] == prediction.decided
        assert answer["confidence"] == pytest.approx(prediction.confidence)
        assert answer["classes"] == prediction.classes
        assert np.array(answer["spikes"]).shape == (NUM_STEPS, 10)
        np.testing.assert_array_equal(answer["spikes"], prediction.spikes)
        hidden = np.zeros((NUM_STEPS, answer["num_hidden"]), bool)
        for step, neurons in enumerate(answer["hidden_spikes"]):
            hidden[step, neurons] = True
        assert answer["num_hidden"] == sum(NUM_HIDDEN)
        np.testing.assert_array_equal(hidden, prediction.hidden_spikes)


@pytest.mark.parametrize("dataset", [COLOURED, pytest.param(SMALL, marks=pytest.mark.slow)], ids=lambda it: it.name)
def test_a_picture_for_another_data_set_gets_its_class_and_image(tmp_path_factory, params, dataset):
    predictor = Predictor(str(untrained_model(tmp_path_factory, params, dataset)))
    channels, height, width = dataset.shape
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8).squeeze()
    content = BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    with answering(predictor) as url:
        answer = ask(url, content.getvalue(), "?details=true").json()
    np.testing.assert_array_equal(answer["image"], pixels)
    assert answer["class"] in answer["classes"] == list(dataset.class_names)


@pytest.mark.parametrize(
    ("dataset", "can_be_drawn"),
    [(MNIST, True), (FASHION, True), (KUZUSHIJI, True), (EMNIST, True), (COLOURED, False), (SMALL, False)],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_page_is_told_of_the_data_set(dataset, can_be_drawn):
    class Known:
        pass

    known = Known()
    known.dataset = dataset
    with answering(known) as url:
        told = requests.get(f"{url}/dataset", timeout=9).json()
    assert told == {
        "name": dataset.name,
        "title": dataset.title,
        "shape": list(dataset.shape),
        "class_names": list(dataset.class_names),
        "preparation": dataset.preparation,
        "can_be_drawn": can_be_drawn,
    }


def test_a_jpeg_is_answered_whatever_follows_its_type(url, pictures):
    content = BytesIO()
    Image.open(BytesIO(pictures[7])).save(content, "JPEG")
    response = ask(url, content.getvalue(), **{"Content-Type": "Image/JPEG; name=seven.jpg"})
    assert response.json()["class"] == "7"


@pytest.mark.parametrize("path", ["/", "/dataset", "/health"])
def test_head_is_get_without_the_content(url, path):
    head, get = requests.head(url + path, timeout=9), requests.get(url + path, timeout=9)
    assert (head.status_code, head.content) == (200, b"")
    assert get.content
    for name in ("Content-Type", "Content-Length"):
        assert head.headers[name] == get.headers[name]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/predict", "POST"),
        ("HEAD", "/predict", "POST"),
        ("OPTIONS", "/predict", "POST"),
        ("POST", "/", "GET, HEAD"),
        ("POST", "/dataset", "GET, HEAD"),
    ],
)
def test_another_method_is_refused_and_the_right_one_named(url, method, path, allowed):
    response = requests.request(method, url + path, timeout=9)
    assert response.status_code == 405
    assert set(response.headers["Allow"].split(", ")) == set(allowed.split(", "))
    if method != "HEAD":
        assert response.json() == {"error": "Method Not Allowed"}


@pytest.mark.parametrize("path", ["/nothing", "/..%2f..%2fetc/passwd", "/page.html"])
def test_what_is_not_there_is_not_found(url, path):
    assert_refused(requests.get(url + path, timeout=9), 404, "Not Found")


def test_a_page_from_elsewhere_cannot_ask(url, pictures):
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", ""):
        assert_refused(
            ask(url, pictures[0], Host=host), 421, f"host is '{host.partition(':')[0]}'; allowed are 127.0.0.1"
        )
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1"):
        assert ask(url, pictures[0], Host=host).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "image/svg+xml", "multipart/form-data; boundary=x", "", "image/pngx"])
def test_another_type_is_refused(url, pictures, kind):
    assert_refused(ask(url, pictures[0], **{"Content-Type": kind}), 415, "allowed are image/png, image/jpeg, ")


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"", 400, "the body is empty"),
        (b"hello", 422, "not a picture; allowed are PNG, JPEG, WEBP, GIF, BMP, TIFF"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), 422, "the file is"),
        (blank(1, 1), 422, "holds nothing"),
        (blank(300, 200), 422, "holds nothing"),
        (blank(5001, 5000), 422, "the file has 5001 x 5000 pixels; allowed are 25,000,000 in all"),
        (bytes(server.MAX_BYTES + 1), 413, "the picture is too large; allowed are 5,000,000 bytes"),
    ],
)
def test_what_holds_nothing_is_refused(url, content, status, message):
    assert_refused(ask(url, content), status, message)


def test_a_truncated_picture_is_refused(url, pictures):
    assert_refused(ask(url, pictures[3][:-200]), 422, "the file is damaged")


def test_a_picture_of_10000_by_10000_pixels_is_refused(url):
    assert_refused(ask(url, blank(10_000, 10_000, "1")), 422, "has 10000 x 10000 pixels; allowed are 25,000,000")


def test_a_jpeg_that_takes_long_is_refused(url, pictures):
    content = BytesIO()
    Image.open(BytesIO(pictures[7])).save(content, "JPEG", progressive=True)
    jpeg = content.getvalue()
    assert ask(url, jpeg).json()["class"] == "7"
    last_scan = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    assert_refused(ask(url, jpeg[:-2] + 100 * last_scan + jpeg[-2:]), 422, "too many scans; allowed are 100")


def test_a_length_that_is_too_large_is_refused_before_the_picture_is_sent(url):
    with connect(url) as connection:
        head = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 5000001\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_a_picture_of_unknown_length_is_limited_too(url, pictures):
    assert ask(url, iter([pictures[7][:100], pictures[7][100:]])).json()["class"] == "7"
    assert_refused(ask(url, (bytes(1_000_000) for _ in range(20))), 413, "allowed are 5,000,000 bytes")


@pytest.mark.parametrize(
    "request_",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused(url, request_):
    with connect(url) as connection:
        connection.sendall(request_ + b"\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")


def test_one_who_leaves_halfway_harms_nobody(url, pictures):
    for _ in range(5):
        half_sent(url).close()
    assert ask(url, pictures[7]).json()["class"] == "7"


@pytest.mark.slow
def test_many_at_once_are_all_answered(url, pictures):
    expected = [ask(url, content).json() for content in pictures]
    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda i: ask(url, pictures[i % 10]).json(), range(200)))
    assert answers == expected * 20


@pytest.mark.slow
def test_many_large_pictures_at_once_take_little_memory(running, url):
    process, _ = running
    large = blank(5000, 5000, "RGBA")
    with ThreadPoolExecutor(5) as pool:
        for response in pool.map(lambda _: ask(url, large), range(5)):
            assert_refused(response, 422, "holds nothing")
    with open(f"/proc/{process.pid}/status", encoding="utf-8") as status:
        kilobytes = int(re.search(r"VmHWM:\s+(\d+)", status.read())[1])
    assert kilobytes < 600_000


def test_a_picture_that_comes_slowly_is_given_up(predictor, monkeypatch):
    monkeypatch.setattr(server, "BODY_SECONDS", 0.2)
    with answering(predictor) as url, half_sent(url) as connection:
        response = b"".join(iter(lambda: connection.recv(1000), b""))
        assert response.startswith(b"HTTP/1.1 408 ")
        assert response.endswith(b'{"error":"the picture did not come within 0.2 seconds"}')


@pytest.mark.parametrize("beginning", [b"", HALF_A_HEAD, GET + HALF_A_HEAD, HALF_REFUSED])
def test_a_head_that_comes_slowly_closes_the_connection(predictor, monkeypatch, beginning):
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.3)
    with answering(predictor) as url, half_sent(url, beginning) as connection:
        drip_until_closed(connection)


def test_one_who_does_not_read_the_answer_is_given_up(pictures, monkeypatch):
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.3)
    with in_thread(Verbose()) as (http, url), unread_answer(http, url, pictures[7]):
        wait_for(lambda: not http.server_state.connections)


def test_an_answer_may_take_longer_than_a_head(predictor, pictures, monkeypatch):
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.1)
    held = Held(predictor)
    with answering(held) as url:
        answer = in_background(url, pictures[7])
        threading.Timer(0.3, held.released.set).start()
        assert answer.result().json()["class"] == "7"


@pytest.mark.parametrize("beginning", [b"", HALF_A_HEAD, HALF_A_PICTURE, GET])
def test_any_number_of_slow_ones_keeps_nobody_waiting(predictor, pictures, monkeypatch, beginning):
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 5)
    with answering(predictor) as url, ExitStack() as slow:
        for _ in range(20):
            connection = slow.enter_context(half_sent(url, beginning))
            if beginning == GET:
                assert connection.recv(1)  # else it may be one of too many that are being answered
        assert ask(url, pictures[7]).json()["class"] == "7"


def test_while_too_many_are_answered_others_are_turned_away(predictor, pictures, monkeypatch):
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)
    held = Held(predictor)
    with answering(held) as url:
        answers = [in_background(url, pictures[7]) for _ in range(2)]
        for _ in answers:
            assert held.asked.acquire(timeout=30)
        with pytest.raises(requests.ConnectionError):
            requests.get(url, timeout=9)
        held.released.set()
        assert [answer.result().json()["class"] for answer in answers] == ["7", "7"]


def test_more_requests_than_the_memory_holds_are_refused(predictor, pictures, monkeypatch):
    monkeypatch.setattr(server, "MAX_REQUESTS", 3)
    held = Held(predictor)
    with answering(held) as url:
        answers = [in_background(url, pictures[7]) for _ in range(2)]
        for _ in answers:
            assert held.asked.acquire(timeout=30)
        assert requests.get(url, timeout=9).status_code == 503
        held.released.set()
        assert [answer.result().json()["class"] for answer in answers] == ["7", "7"]


def test_for_one_who_has_left_nothing_is_computed(predictor, pictures, monkeypatch):
    monkeypatch.setattr(server, "MAX_DECODED", 1)
    held = Held(predictor)
    with answering(held) as url:
        first = in_background(url, pictures[7])
        assert held.asked.acquire(timeout=30)
        half_sent(url, POST % len(pictures[1]) + pictures[1]).close()
        last = in_background(url, pictures[0])
        for _ in range(2):
            assert requests.get(f"{url}/health", timeout=9).ok  # so the server has seen that one leave
        held.released.set()
        assert (first.result().json()["class"], last.result().json()["class"]) == ("7", "0")
    assert held.asked.acquire(blocking=False)
    assert not held.asked.acquire(blocking=False)


@pytest.mark.parametrize("beginning", [b"", HALF_A_HEAD, HALF_A_PICTURE])
def test_it_stops_whatever_is_open(predictor, monkeypatch, capfd, beginning):
    monkeypatch.setattr(server, "STOP_SECONDS", 0.1)
    with ExitStack() as connections, answering(predictor) as url:
        connections.enter_context(half_sent(url, beginning))
        assert requests.get(f"{url}/health", timeout=9).ok  # so the server has seen the other
    assert capfd.readouterr().err == ""


def test_it_stops_while_an_answer_is_not_read(pictures, monkeypatch):
    monkeypatch.setattr(server, "STOP_SECONDS", 0.1)
    with ExitStack() as connections, in_thread(Verbose()) as (http, url):
        connections.enter_context(unread_answer(http, url, pictures[7]))


def test_a_bug_is_told_as_json_and_printed(pictures, capfd):
    class Broken:
        dataset = MNIST

        def decide(self, images):
            raise ZeroDivisionError("division by zero")

    with answering(Broken()) as url:
        assert_refused(ask(url, pictures[0]), 500, "the server failed")
    assert "ZeroDivisionError: division by zero" in capfd.readouterr().err


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_stops_it_quietly(model, pictures, number):
    with serving(model) as (process, url), connect(url), requests.Session() as session:
        assert session.post(f"{url}/predict", data=pictures[7], headers=PNG, timeout=9).status_code == 200
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=30)
        assert (process.returncode, stdout, stderr) == (0, "", "")


def test_a_port_that_cannot_be_had_is_named(lifline, model, url):
    port = url.rpartition(":")[2]
    for argument, *parts in (
        (port, f"port {port} is in use", "--port"),
        ("65536", "port is 65536; allowed", "0 to 65535"),
        ("-1", "port is -1"),
    ):
        code, stdout, stderr = lifline("serve", "--port", argument, "--model", str(model))
        assert stdout == ""
        assert_one_line_error((code, stderr), *parts)


def test_it_listens_on_one_address_alone(url):
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", int(url.rpartition(":")[2])), timeout=5)


def test_it_warns_where_it_is_open_to_the_network(model, pictures):
    with serving(model, "--host", ANYWHERE) as (process, url):
        local = url.replace(ANYWHERE, "127.0.0.2")
        elsewhere = {"Host": "box.example.org"}
        assert requests.get(f"{local}/health", headers=elsewhere, timeout=9).json() == {"status": "ok"}
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30)[1] == (
            f"warning: {ANYWHERE} is open to the network, to anyone and without encryption\n"
        )


def test_another_address_of_this_machines_own_answers_to_its_name(model):
    with serving(model, "--host", "127.0.0.2") as (process, url):
        assert url.startswith("http://127.0.0.2:")
        assert requests.get(f"{url}/health", timeout=9).status_code == 200
        assert requests.get(f"{url}/health", headers={"Host": "box.example.org"}, timeout=9).status_code == 421
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30)[1] == ""


@pytest.mark.parametrize("host", ["example.org", "::", "192.0.2.1"])
def test_an_address_that_cannot_be_had_is_named(lifline, model, host):
    code, stdout, stderr = lifline("serve", "--host", host, "--port", "0", "--model", str(model))
    assert stdout == ""
    assert_one_line_error((code, stderr), f"host is {host}; allowed")
