"""The page without a server, opened from a disk in a real browser, beside what lifline itself answers."""

import base64
import io
import shutil
import subprocess
import tarfile

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lifline.errors import LiflineError, ModelError
from lifline.serving import web_runtime
from lifline.serving.picture import read_picture
from lifline.serving.predictor import Predictor
from lifline.serving.static_page import write_page
from lifline.system.files import sha256_of_bytes
from tests.conftest import ROOT, assert_one_line_error
from tests.serving.quick_model import COLOURED, FASHION, silent_model, untrained_model
from tests.serving.test_page import DIGITS, draw

TOLERANCE = 0.04
"""Of a pixel, 0 to 1: browsers and Pillow round differently, and the page looks at a drawing less closely."""

ASK = """async (base64) => {
    const content = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    return window.lifline.predict(content, "image/png");
}"""


def png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, format="PNG")
    return content.getvalue()


def drawn(points, size=560, width=44, paper="white", ink="black") -> Image.Image:
    picture = Image.new("RGB", (size, size), paper)
    line = [(x * size, y * size) for x, y in points]
    ImageDraw.Draw(picture).line(line, fill=ink, width=width, joint="curve")
    return picture


def noisy(width, height, mode="RGB") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def transparent(picture: Image.Image) -> Image.Image:
    """What is white, seen through."""
    alpha = picture.convert("L").point(lambda level: 255 - level)
    return Image.merge("RGBA", [*Image.new("RGB", picture.size, "black").split(), alpha])


HANDWRITING = {
    "drawn 0": drawn(DIGITS["0"]),
    "drawn 1": drawn(DIGITS["1"]),
    "drawn 7": drawn(DIGITS["7"]),
    "small, in a corner": drawn([(0.1 + x / 6, 0.7 + y / 6) for x, y in DIGITS["7"]], width=12),
    "white on black": drawn(DIGITS["0"], paper="black", ink="white"),
    "grey on grey": drawn(DIGITS["7"], size=300, width=20, paper="#bbb", ink="#444"),
    "tiny": drawn(DIGITS["7"], size=20, width=2),
    "seen through": transparent(drawn(DIGITS["7"])),
}
OBJECTS = {
    "dark on white": drawn([(0.2, 0.3), (0.8, 0.3), (0.8, 0.7)], size=200, width=30),
    "light on black": drawn([(0.4, 0.2), (0.4, 0.9)], size=120, width=40, paper="black", ink="#ccc"),
    "of the image's size": drawn([(0.2, 0.3), (0.8, 0.3), (0.8, 0.7)], size=28, width=4, paper="black", ink="white"),
}
PLAIN = {
    "larger": noisy(170, 230),
    "smaller": noisy(9, 12),
    "of the size": noisy(23, 17),
    "grey": noisy(64, 64, "L"),
    "wide": noisy(300, 40),
    "a line": noisy(1, 90),
    "larger than is read": noisy(4007, 2075),
}


@pytest.fixture
def opened(browser, tmp_path):
    """Write a model's page and open it from the disk; what it logs, raises or asks of others is an error at the end."""
    pages, wrong = [], []

    def open_page(model):
        shutil.rmtree(tmp_path / "page", ignore_errors=True)
        address = write_page(Predictor(str(model)), tmp_path / "page").as_uri()
        page = browser.new_page(reduced_motion="reduce")
        pages.append(page)
        page.on("console", lambda message: message.type != "error" or wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        here = (tmp_path.as_uri(), "data:", "blob:")
        page.on("request", lambda request: request.url.startswith(here) or wrong.append(request.url))
        page.goto(address)
        page.locator("#main").wait_for()
        return page

    yield open_page
    for page in pages:
        page.close()
    assert wrong == []


@pytest.fixture(scope="session")
def reachable():
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not on the PATH")
    command = [npm, "view", web_runtime.PACKAGE, "version"]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("the npm registry cannot be reached")


def assert_same_answers(page, model, pictures):
    predictor = Predictor(str(model))
    for name, picture in pictures.items():
        found = page.evaluate(ASK, base64.b64encode(png(picture)).decode())
        assert "error" not in found, (name, found)
        image = read_picture(png(picture), predictor.dataset)
        shown = np.asarray(found["image"], dtype=np.float32) / 255
        shown = np.moveaxis(np.atleast_3d(shown), -1, 0)
        assert abs(shown - image).max() <= TOLERANCE, name
        answer = predictor.predict(shown)
        assert (found["class"], found["is_decided"]) == (answer.decided, answer.is_decided), name
        assert found["classes"] == answer.classes
        assert abs(np.asarray(found["spikes"]) - answer.spikes).sum() <= 1, name  # it is told the image in 256 levels
        assert found["num_hidden"] == answer.hidden_spikes.shape[1]
        fired = sum(map(len, found["hidden_spikes"]))
        assert fired == pytest.approx(answer.hidden_spikes.sum(), rel=0.05), name
        assert found["confidence"] == pytest.approx(answer.confidence, abs=0.1)


@pytest.mark.slow
def test_a_page_opened_from_a_disk_answers_as_lifline_does(opened, model, reachable):
    page = opened(model)
    assert_same_answers(page, model, HANDWRITING)
    draw(page, DIGITS["7"])
    assert page.locator("#answer strong").inner_text(timeout=60_000) == "7"
    blank = page.evaluate(ASK, base64.b64encode(png(Image.new("RGB", (50, 50), "white"))).decode())
    assert blank == {"error": "the file holds nothing: its pixels hardly differ"}
    assert "not a picture" in page.evaluate(ASK, base64.b64encode(b"no picture").decode())["error"]


@pytest.mark.slow
@pytest.mark.parametrize("decoding", ["rate", "membrane"])
def test_a_page_of_a_silent_network_says_whether_it_decides(opened, model, tmp_path, decoding, reachable):
    silent = silent_model(model, tmp_path / "silent.onnx", decoding)
    assert_same_answers(opened(silent), silent, HANDWRITING)


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "pictures"), [(FASHION, OBJECTS), (COLOURED, PLAIN)])
def test_pictures_are_prepared_as_the_data_set_asks(opened, dataset, pictures, tmp_path_factory, params, reachable):
    model = untrained_model(tmp_path_factory, params, dataset)
    assert_same_answers(opened(model), model, pictures)


def test_a_network_coded_by_rate_has_no_page(tmp_path_factory, params, tmp_path):
    predictor = Predictor(str(untrained_model(tmp_path_factory, params, FASHION, "rate")))
    with pytest.raises(ModelError, match="is coded by rate"):
        write_page(predictor, tmp_path / "page")
    assert not (tmp_path / "page").exists()


def test_another_page_is_not_overwritten(model, tmp_path, lifline):
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "index.html").write_text("my own")
    (folder / "model.js").write_text("my own, too")
    outcome = lifline("page", "--model", str(model), "--output", str(folder))
    assert_one_line_error((outcome[0], outcome[2]), f"{folder / 'index.html'} is another page", "a new folder")
    assert sorted(path.name for path in folder.iterdir()) == ["index.html", "model.js"]
    assert (folder / "index.html").read_text() == "my own"


def test_a_page_is_written_anew_into_its_own_folder(model, tmp_path, monkeypatch):
    runtime = dict.fromkeys((web_runtime.SCRIPT, web_runtime.LOADER, web_runtime.PROGRAM), b"of npm's")
    monkeypatch.setattr("lifline.serving.static_page.web_runtime", lambda: runtime)
    predictor = Predictor(str(model))
    page = write_page(predictor, tmp_path / "page")
    first = page.read_bytes()
    (tmp_path / "page/model.js").unlink()
    assert write_page(predictor, tmp_path / "page").read_bytes() == first
    assert (tmp_path / "page/model.js").exists()


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """An npm that serves a package with given files, and counts; the cache is empty."""

    def serve(files):
        package = tmp_path / "package.tgz"
        with tarfile.open(package, "w:gz") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(f"package/dist/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        program = tmp_path / "bin/npm"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n/bin/cp {package} package.tgz\necho >> {tmp_path}/asked\n")
        program.chmod(0o755)

    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(web_runtime, "FILES", {"a.js": sha256_of_bytes(b"a"), "b.wasm": sha256_of_bytes(b"b")})
    return serve


def test_the_runtime_is_fetched_once_and_again_where_a_file_was_damaged(npm, tmp_path):
    npm({"a.js": b"a", "b.wasm": b"b"})
    for num_asked in (1, 1):
        assert web_runtime.web_runtime() == {"a.js": b"a", "b.wasm": b"b"}
        assert (tmp_path / "asked").read_text().count("\n") == num_asked
    (path,) = (tmp_path / "cache").rglob("b.wasm")
    path.write_bytes(b"other")
    assert web_runtime.web_runtime()["b.wasm"] == b"b"
    assert (tmp_path / "asked").read_text().count("\n") == 2


def test_another_runtime_is_refused(npm, tmp_path):
    npm({"a.js": b"a", "b.wasm": b"evil"})
    with pytest.raises(LiflineError, match=r"b\.wasm in npm's .* is another file"):
        web_runtime.web_runtime()
    assert not (tmp_path / "cache").exists()
    npm({"a.js": b"a"})
    with pytest.raises(LiflineError, match=r"cannot be had: the package has no package/dist/b\.wasm"):
        web_runtime.web_runtime()


def test_the_package_is_pinned():
    assert web_runtime.PACKAGE.split("@")[1][0].isdigit()
    assert {len(sha256) for sha256 in web_runtime.FILES.values()} == {64}
    assert "static_page.js" in (ROOT / "pyproject.toml").read_text()
