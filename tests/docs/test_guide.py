"""The guide's programs for one's own pictures."""

import os
import shutil
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

from PIL import Image

from docs.tools.snippets import ROOT, blocks_of
from lifline.serving.picture import read_picture
from lifline.serving.predictor import Predictor
from tests.conftest import MNIST
from tests.serving.quick_model import quick_model

PICTURES = Path("data/pictures")
SIZES = [(64, 64), (100, 40), (30, 90)]


def run_block(naming, folder):
    """Run the block of shell commands that has some words; returns what it prints."""
    (block,) = (block for block in blocks_of((ROOT / "docs/guide.md").read_text()) if naming in block.text)
    assert block.language == "sh"
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    run = subprocess.run(
        ["bash", "-ec", block.text], cwd=folder, env=environment, text=True, capture_output=True, check=True
    )
    return run.stdout


def test_pictures_are_brought_to_one_size(tmp_path):
    paths = [tmp_path / PICTURES / part / "cat" / f"{i}.png" for part in ("train", "test") for i in range(len(SIZES))]
    for path, size in zip(paths, SIZES * 2, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (200, 0, 0)).save(path)
    run_block("ImageOps", tmp_path)
    assert {Image.open(path).size for path in paths} == {(64, 64)}
    assert {Image.open(path).getpixel((32, 32)) for path in paths} == {(200, 0, 0)}


def test_misread_pictures_are_named(tmp_path, tmp_path_factory, params, training_images, test_images):
    model = quick_model(tmp_path_factory, params, training_images)
    (tmp_path / "models").mkdir()
    (tmp_path / "dvc.yaml").touch()
    shutil.copy(model, tmp_path / "models/model.onnx")
    predictor, misread = Predictor(str(model)), {}
    for i, (image, label) in enumerate(zip(test_images.images[:9], test_images.labels[:9].tolist(), strict=True)):
        folder = label if i > 1 else 9 - label
        path = PICTURES / "test" / str(folder) / f"{i}.png"
        with chdir(tmp_path):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0].numpy()).resize((140, 140)).save(path)
            decided = int(predictor.predict(read_picture(path.read_bytes(), MNIST)).decided)
        if decided != folder:
            misread[path.as_posix()] = str(decided)
    damaged = PICTURES / "test/7/damaged.png"
    (tmp_path / damaged).write_bytes(b"")
    lines = [line.split() for line in run_block("predictions.csv", tmp_path).splitlines()]
    printed = {words[0]: words[1] for words in lines if words[0].startswith(f"{PICTURES}/")}
    assert 2 <= len(misread) < 9
    assert printed.pop(damaged.as_posix()) == damaged.as_posix()  # that it is not a picture
    assert printed == misread
