from io import StringIO

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from rich.progress import Progress

from lifline.download import pictures
from lifline.download.folders import read_class_folders
from lifline.download.own import read_own_data
from lifline.download.pictures import read_pictures
from tests.download.own_data import SHARE, as_sets, pairs, picture_folder, random_images, write_pictures

LABELS = [0, 1, 2, 2, 1, 0]
CLASS_NAMES = ("ape", "bee", "cat")
TURNED_LEFT = 6
"""EXIF: how a picture lies that a camera took."""


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff", "gif"])
def test_grey_pictures_are_grey(tmp_path, kind):
    images = random_images(6, 5, 4)
    parts = read_class_folders(write_pictures(tmp_path, images, LABELS, CLASS_NAMES, kind))
    assert parts.class_names == CLASS_NAMES
    assert as_sets(parts.train) == pairs(images, LABELS)
    assert parts.test is None


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff"])
def test_colour_pictures_are_in_colour(tmp_path, kind):
    images, others = random_images(6, 17, 23, 3), random_images(2, 17, 23, 3)
    write_pictures(tmp_path, images, LABELS, CLASS_NAMES, kind)
    write_pictures(tmp_path, others, [2, 2], CLASS_NAMES, kind, part="test")
    parts = read_class_folders(tmp_path)
    assert parts.train.images.shape == (6, 3, 17, 23)
    assert as_sets(parts.train) == pairs(images, LABELS)
    assert as_sets(parts.test) == pairs(others, [2, 2])


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_pictures_that_lose_detail_are_read(tmp_path, kind):
    images = np.full((6, 16, 16, 3), (200, 100, 50), dtype=np.uint8)
    parts = read_class_folders(write_pictures(tmp_path, images, LABELS, CLASS_NAMES, kind))
    assert np.abs(parts.train.images[0, :, 8, 8].numpy() - np.array([200.0, 100, 50])).max() < 5


def test_one_picture_in_colour_makes_all_so(tmp_path):
    grey, colour = random_images(5, 4), random_images(5, 4, 3)
    write_pictures(tmp_path, [grey, colour], [0, 1], CLASS_NAMES)
    images = read_class_folders(tmp_path).train.images
    assert np.array_equal(images[0], np.stack([grey] * 3))
    assert np.array_equal(images[1], np.moveaxis(colour, 2, 0))


def test_classes_come_in_the_order_of_the_file(tmp_path):
    images = random_images(6, 5, 4)
    write_pictures(tmp_path, images, LABELS, CLASS_NAMES)
    (tmp_path / "classes.txt").write_text("cat\nape\nbee")
    parts = read_class_folders(tmp_path)
    assert parts.class_names == ("cat", "ape", "bee")
    assert as_sets(parts.train) == pairs(images, [1, 2, 0, 0, 2, 1])


def test_what_systems_leave_behind_is_no_picture(tmp_path):
    images = random_images(6, 5, 4)
    write_pictures(tmp_path, images, LABELS, CLASS_NAMES)
    for name in ("train/.DS_Store", "train/Thumbs.db", "train/ape/._000.png", "train/bee/Thumbs.db", "README.md"):
        (tmp_path / name).write_text("not a picture")
    (tmp_path / ".git").mkdir()
    assert as_sets(read_class_folders(tmp_path).train) == pairs(images, LABELS)


def read_one(path, picture, **options):
    picture.save(path, **options)
    return read_pictures([path])[0].numpy()


def test_what_is_transparent_is_black(tmp_path):
    grey, alpha = np.array([[200, 200]], dtype=np.uint8), np.array([[255, 0]], dtype=np.uint8)
    with_alpha = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)])
    assert read_one(tmp_path / "la.png", with_alpha).tolist() == [[[200, 0]]]
    assert read_one(tmp_path / "rgba.png", with_alpha.convert("RGBA")).tolist() == [[[200, 0]]] * 3
    assert read_one(tmp_path / "key.png", Image.fromarray(grey), transparency=200).tolist() == [[[0, 0]]]


def test_a_half_transparent_pixel_is_half_as_bright(tmp_path):
    picture = Image.new("RGBA", (1, 1), (200, 100, 50, 128))
    assert np.abs(read_one(tmp_path / "half.png", picture).flatten() - np.array([100.0, 50, 25])).max() <= 1


def test_deep_grey_keeps_its_high_bits(tmp_path):
    deep = np.array([[0, 255, 256, 65_535]], dtype=np.uint16)
    for name in ("deep.png", "deep.tiff"):
        assert read_one(tmp_path / name, Image.fromarray(deep)).tolist() == [[[0, 0, 1, 255]]]


def test_bits_are_black_and_white(tmp_path):
    assert read_one(tmp_path / "bits.png", Image.fromarray(np.array([[True, False]]))).tolist() == [[[255, 0]]]


@pytest.mark.parametrize(("colour", "pixels"), [((255, 0, 0), [255, 0, 0]), ((70, 70, 70), [70])])
def test_a_palette_is_grey_or_in_colour(tmp_path, colour, pixels):
    picture = Image.new("RGB", (1, 1), colour).convert("P", palette=Image.Palette.ADAPTIVE)
    assert read_one(tmp_path / "palette.png", picture).flatten().tolist() == pixels


def test_the_first_frame_counts(tmp_path):
    first, second = (Image.new("L", (2, 2), grey) for grey in (10, 200))
    assert np.all(read_one(tmp_path / "two.gif", first, save_all=True, append_images=[second]) == 10)


def test_a_picture_stands_as_its_camera_did(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = TURNED_LEFT
    picture = random_images(5, 4)
    assert np.array_equal(read_one(tmp_path / "held.png", Image.fromarray(picture), exif=exif)[0], np.rot90(picture, 3))


@pytest.mark.parametrize(("moment", "is_shown"), [(-1, True), (1000, False)])
def test_what_takes_longer_than_a_moment_shows_a_bar(tmp_path, monkeypatch, moment, is_shown):
    screen = StringIO()
    console = Console(file=screen, force_terminal=True)
    monkeypatch.setattr(pictures, "MOMENT_SECONDS", moment)
    monkeypatch.setattr(pictures, "new_bar", lambda *columns: Progress(*columns, console=console))
    read_class_folders(write_pictures(tmp_path, random_images(6, 5, 4), LABELS, CLASS_NAMES))
    assert ("reading pictures" in screen.getvalue()) == is_shown


def test_what_predict_draws_beside_a_picture_is_no_picture_of_the_class(tmp_path):
    folder = picture_folder(tmp_path / "own")
    before = read_own_data(folder, SHARE)
    picture = next((folder / "train").glob("*/*.png"))
    Image.new("RGB", (1700, 470)).save(f"{picture}.spikes.png")
    assert len(read_own_data(folder, SHARE).train.labels) == len(before.train.labels)
