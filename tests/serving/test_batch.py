import csv
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from lifline.serving import batch
from lifline.serving.picture import read_picture
from lifline.serving.predictor import Predictor
from tests.conftest import MNIST, assert_one_line_error, changed
from tests.serving.quick_model import COLOURED, WITHOUT_PYTORCH, silent_model, untrained_model

HEADER = ["file", "class", "confidence", *(f"spikes_{digit}" for digit in range(10)), "error"]


@pytest.fixture(scope="module")
def predictor(model):
    return Predictor(str(model))


@pytest.fixture
def folder(tmp_path, test_images, monkeypatch):
    """`scans` with pictures of digits in it and below, and with what is none; beside it is the working directory."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(
        ["b.png", "a.JPG", "deep/er/c.png", "deep/d.bmp", ".hidden/e.png", "b.png.spikes.png"]
    ):
        path = tmp_path / "scans" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(test_images.images[number, 0].numpy())
        ImageOps.invert(image.resize((140, 140))).save(path)
    (tmp_path / "scans/notes.txt").write_text("no picture")
    (tmp_path / "scans/deep/broken.png").write_text("hello")
    return tmp_path / "scans"


def table(path="predictions.csv") -> list[list[str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def row_of(name, prediction) -> list[str]:
    confidence = str(round(prediction.confidence, 4))
    return [name, prediction.decided, confidence, *map(str, prediction.spikes.sum(0)), ""]


def test_each_picture_of_a_folder_has_a_row_as_if_it_was_predicted_alone(lifline, model, predictor, folder):
    code, stdout, stderr = lifline("predict", "scans", "--output", "predictions.csv", "--model", str(model))
    assert (code, stderr) == (0, "")
    assert stdout == (
        "predictions.csv: predictions of 4 of 5 images; 1 could not be read: the column error tells why\n"
    )
    header, *rows = table()
    assert header == HEADER
    names = ["scans/a.JPG", "scans/b.png", "scans/deep/broken.png", "scans/deep/d.bmp", "scans/deep/er/c.png"]
    assert [row[0] for row in rows] == names
    message = "scans/deep/broken.png is not a picture; allowed are PNG, JPEG, WEBP, GIF, BMP, TIFF"
    assert rows.pop(2) == [names.pop(2), *[""] * 12, message]
    paths = [folder.parent / name for name in names]
    assert rows == [
        row_of(name, predictor.predict(read_picture(path, MNIST))) for name, path in zip(names, paths, strict=True)
    ]


def test_where_no_output_neuron_fires_the_row_says_so(lifline, model, folder):
    silent_model(model, folder.parent / "silent.onnx")
    code, stdout, stderr = lifline("predict", "scans", "--output", "predictions.csv", "--model", "silent.onnx")
    assert (code, stderr) == (0, "")
    assert stdout == (
        "predictions.csv: predictions of 4 of 5 images; 1 could not be read: the column error tells why; of 4 images "
        "no output neuron fired\n"
    )
    assert table()[1] == ["scans/a.JPG", "", "0.0", *["0"] * 10, "no output neuron fired"]
    (folder.parent / "one").mkdir()
    shutil.copy(folder / "a.JPG", folder.parent / "one")
    _, stdout, _ = lifline("predict", "one", "--output", "predictions.csv", "--model", "silent.onnx")
    assert stdout == "predictions.csv: predictions of 1 of 1 images; of 1 image no output neuron fired\n"


@pytest.mark.parametrize(
    ("stored", "members"),
    [
        (lambda images: images, {"y_test": np.zeros(3)}),
        (lambda images: images[:, None], {}),
        (lambda images: images[..., None].astype(np.int64), {}),
        (lambda images: (images / np.float32(255)).astype(np.float32), {}),
    ],
)
def test_each_image_of_an_array_has_a_row(
    lifline, model, predictor, test_images, tmp_path, monkeypatch, stored, members
):
    monkeypatch.chdir(tmp_path)
    images = test_images.images[:150, 0].numpy()
    np.savez_compressed("images.npz", x_test=stored(images), **members)
    code, stdout, stderr = lifline("predict", "images.npz", "--output", "predictions.csv", "--model", str(model))
    assert (code, stdout, stderr) == (0, "predictions.csv: predictions of 150 of 150 images\n", "")
    header, *rows = table()
    assert header == HEADER
    alone = [predictor.predict(image[None] / np.float32(255)) for image in images]
    assert rows == [row_of(f"x_test[{i}]", prediction) for i, prediction in enumerate(alone)]


def test_images_in_colour_have_their_channels_last_or_first(tmp_path_factory, params, tmp_path):
    by_membrane = changed(params, network={"decoding": "membrane"})
    predictor = Predictor(str(untrained_model(tmp_path_factory, by_membrane, COLOURED)))
    images = np.random.default_rng(0).random((5, *COLOURED.shape), dtype=np.float32)
    np.savez(tmp_path / "first.npz", images=images)
    np.savez(tmp_path / "last.npz", images=np.ascontiguousarray(np.moveaxis(images, 1, -1)))
    for name in ("first", "last"):
        batch.predict_all(predictor, tmp_path / f"{name}.npz", tmp_path / f"{name}.csv")
    assert (tmp_path / "first.csv").read_bytes() == (tmp_path / "last.csv").read_bytes()
    decided = [row[1] for row in table(tmp_path / "first.csv")[1:]]
    assert decided == [predictor.predict(image).decided for image in images]


def test_no_more_images_are_held_than_are_decided_on_at_once(predictor, monkeypatch):
    monkeypatch.setattr("lifline.serving.predictor.MAX_BATCH", 3)
    read = []

    def images():
        for number in range(10):
            read.append(number)
            yield batch.Found(str(number), np.zeros((1, 28, 28), np.float32), "")

    for number, _ in enumerate(batch.decisions(predictor, images())):
        assert len(read) <= number + 3


def test_the_more_a_network_computes_the_fewer_images_are_decided_on_at_once(predictor, monkeypatch):
    assert predictor.batch_size == 100
    monkeypatch.setattr("lifline.serving.predictor.MAX_VALUES", 2 * 28 * 28)
    assert predictor.batch_size == 2
    monkeypatch.setattr("lifline.serving.predictor.MAX_VALUES", 1)
    assert predictor.batch_size == 1


def np_saved(**arrays):
    return lambda path: np.savez(path, **arrays)


def longer(path):
    np.savez(path, x_test=np.zeros((2, 28, 28), np.uint8))
    with zipfile.ZipFile(path) as archive:
        content = archive.read("x_test.npy")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_test.npy", content + b"\0")


def shorter(path):
    np.savez(path, x_test=np.zeros((2, 28, 28), np.uint8))
    with zipfile.ZipFile(path) as archive:
        content = archive.read("x_test.npy")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_test.npy", content[:-1])


def test_an_image_of_an_array_that_is_wrong_is_listed(lifline, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = np.zeros((4, 28, 28))
    images[1, 3, 4], images[2] = np.nan, 7.0
    np.savez("images.npz", images)
    code, stdout, _ = lifline("predict", "images.npz", "--output", "predictions.csv", "--model", str(model))
    assert code == 0
    assert "predictions of 2 of 4 images; 2 could not be read" in stdout
    with open("predictions.csv") as file:
        errors = [row["error"] for row in csv.DictReader(file)]
    assert ["nan in image 1" in errors[1], "7.0 in image 2, allowed for float64 is 0 to 1" in errors[2]] == [True, True]
    assert errors[0] == errors[3] == "no output neuron fired"  # on black


def test_where_no_image_can_be_read_that_is_an_error(lifline, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("images.npz", np.full((3, 28, 28), 255.0))
    code, _, stderr = lifline("predict", "images.npz", "--output", "predictions.csv", "--model", str(model))
    assert_one_line_error((code, stderr), "none of 3 images could be read; the first: ", "divide by what is white")
    assert len(Path("predictions.csv").read_text().splitlines()) == 4


def test_what_is_read_is_not_written_over(lifline, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("images.npz", np.zeros((1, 28, 28), np.uint8))
    before = Path("images.npz").read_bytes()
    code, _, stderr = lifline("predict", "images.npz", "--output", "images.npz", "--model", str(model))
    assert_one_line_error((code, stderr), "--output is images.npz; allowed is a name that ends with .csv")
    assert Path("images.npz").read_bytes() == before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            np_saved(x_test=np.zeros((5, 20, 20))),
            "images.npz: x_test has the shape [5, 20, 20]; allowed is",
        ),
        (np_saved(x_test=np.zeros(())), "has the shape []; allowed is [B, 28, 28] or [B, 28, 28, 1] or [B, 1, 28"),
        (np_saved(x_test=np.zeros((0, 28, 28))), "has the shape [0, 28, 28]; allowed is [B, 28, 28]"),
        (np_saved(a=np.zeros(1), b=np.zeros(1)), "has 'a, b'; allowed is x_test beside others, or one array"),
        (np_saved(), "has nothing; allowed is x_test"),
        (np_saved(x_test=np.array([{}])), "is of the type object, which takes unpickling"),
        (np_saved(x_test=np.asfortranarray(np.zeros((2, 28, 28)))), "is stored column by column"),
        (lambda path: path.write_bytes(b"hello"), "images.npz is damaged: "),
        (shorter, "images.npz is damaged: "),
        (longer, "images.npz: x_test is damaged: it is longer than its 1,568 values"),
        (lambda path: None, "images.npz cannot be read: No such file or directory"),
    ],
)
def test_an_array_that_the_network_does_not_see_is_refused(lifline, model, tmp_path, monkeypatch, make, message):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "images.npz")
    code, stdout, stderr = lifline("predict", "images.npz", "--output", "predictions.csv", "--model", str(model))
    assert stdout == ""
    assert_one_line_error((code, stderr), message)
    assert sorted(path.name for path in tmp_path.iterdir()) in ([], ["images.npz"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["empty", "--output", "p.csv"], "empty holds no picture; allowed are PNG, JPEG, "),
        (["none", "--output", "p.csv"], "none is neither a folder nor an .npz file"),
        (["scans", "--output", "scans/b.png/p.csv"], "scans/b.png"),
        (["scans", "--output", "empty"], "--output is empty; allowed is a name that ends with .csv"),
        (["scans", "empty", "--output", "p.csv"], "--output takes one folder or .npz file"),
        (["scans", "--show", "--output", "p.csv"], "--output takes one folder or .npz file"),
    ],
)
def test_what_cannot_be_predicted_or_written_is_named(lifline, model, folder, arguments, message):
    (folder.parent / "empty").mkdir()
    code, stdout, stderr = lifline("predict", *arguments, "--model", str(model))
    assert stdout == ""
    assert_one_line_error((code, stderr), message)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["empty", "scans"]


def test_one_that_is_interrupted_leaves_the_table_that_was_there(lifline, model, folder, monkeypatch):
    (folder.parent / "predictions.csv").write_text("of yesterday")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("lifline.serving.batch.Predictor.decide", interrupted)
    code, stdout, _ = lifline("predict", "scans", "--output", "predictions.csv", "--model", str(model))
    assert (code, stdout) == (130, "")
    assert (folder.parent / "predictions.csv").read_text() == "of yesterday"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["predictions.csv", "scans"]


def test_neither_pytorch_nor_mlflow_nor_matplotlib_is_needed(model, folder):
    np.savez("images.npz", np.zeros((2, 28, 28), np.uint8))
    for source in ("scans", "images.npz"):
        arguments = ["predict", source, "--output", f"{source}.csv", "--model", str(model)]
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_PYTORCH, *arguments], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
