from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lifline.download import limits
from lifline.download.own import read_own_data
from lifline.errors import DataError
from tests.download.own_data import (
    CLASS_NAMES,
    IMAGES,
    LABELS,
    SHARE,
    arrays_file,
    as_sets,
    idx_folder,
    pairs,
    picture_folder,
)

KINDS = [(idx_folder, "idx"), (arrays_file, "own.npz"), (picture_folder, "pictures")]

TESTED_OF_FORTY = [4, 10, 11, 15, 20, 22, 25, 28]
"""Places of the images that become those to be tested on."""


@pytest.mark.parametrize("make", [idx_folder, picture_folder])
def test_test_images_are_those_that_are_there(tmp_path, make):
    data = read_own_data(make(tmp_path / "my set"), SHARE)
    assert as_sets(data.train) == pairs(IMAGES, LABELS)
    assert as_sets(data.test) == pairs(IMAGES[15:25], LABELS[15:25])
    assert data.info.name == data.info.title == "my-set"
    assert data.info.shape == (1, 5, 4)
    assert data.info.class_names == CLASS_NAMES
    assert data.info.preparation == "plain"


def test_without_test_images_a_share_of_each_class_becomes_these(tmp_path):
    data = read_own_data(arrays_file(tmp_path / "my.own.npz"), SHARE)
    assert data.info.name == "my.own"
    assert data.test.labels.bincount().tolist() == [4, 4]
    assert data.train.labels.bincount().tolist() == [16, 16]
    assert sorted(as_sets(data.train) + as_sets(data.test)) == pairs(IMAGES, LABELS)


@given(st.lists(st.integers(1, 30), min_size=2, max_size=5), st.floats(0.01, 0.99))
def test_each_class_is_learned_and_tested_where_it_has_two_images(tmp_path_factory, counts, share):
    path = tmp_path_factory.getbasetemp() / "counts.npz"
    labels = np.repeat(np.arange(len(counts)), counts)
    np.savez(path, x_train=np.zeros((len(labels), 2, 4), dtype=np.uint8), y_train=labels)
    if max(counts) == 1:
        with pytest.raises(DataError, match="one image a class"):
            read_own_data(path, share)
        return
    data = read_own_data(path, share)
    learned, tested = (part.labels.bincount(minlength=len(counts)) for part in (data.train, data.test))
    for all_of_it, train, test in zip(counts, learned.tolist(), tested.tolist(), strict=True):
        assert train >= 1
        assert train + test == all_of_it
        assert all_of_it == 1 or test == pytest.approx(share * all_of_it, abs=1)


def test_the_parts_and_their_order_are_the_same_ever(tmp_path):
    path = arrays_file(tmp_path / "own.npz")
    first, second = read_own_data(path, SHARE), read_own_data(path, SHARE)
    for part, again in zip(first[1:], second[1:], strict=True):
        assert all(map(torch.equal, part, again))
    tested = [int(np.flatnonzero((image.numpy() == IMAGES).all(axis=(1, 2)))[0]) for image in first.test.images]
    assert tested == TESTED_OF_FORTY


def test_the_last_images_to_learn_from_are_of_all_classes(tmp_path):
    for data in (read_own_data(make(tmp_path / name), SHARE) for make, name in KINDS):
        assert set(data.train.labels[-10:].tolist()) == {0, 1}


def test_digits_of_scikit_learn_are_read_where_white_is_1(tmp_path):
    from sklearn.datasets import load_digits

    digits = load_digits()
    np.savez(tmp_path / "digits.npz", x_train=digits.images / 16, y_train=digits.target)
    data = read_own_data(tmp_path / "digits.npz", SHARE)
    assert data.info.shape == (1, 8, 8)
    assert data.info.class_names == tuple("0123456789")
    assert len(data.train.labels) + len(data.test.labels) == 1797
    assert data.train.images.max() == 255
    np.savez(tmp_path / "digits.npz", x_train=digits.images, y_train=digits.target)
    with pytest.raises(DataError, match=r"digits.npz: x_train holds 5\.0 in image 0, allowed for float64 is 0 to 1; d"):
        read_own_data(tmp_path / "digits.npz", SHARE)


def test_a_folder_is_named_however_it_is_pointed_at(tmp_path, monkeypatch):
    monkeypatch.chdir(picture_folder(tmp_path / "birds"))
    assert read_own_data(Path("."), SHARE).info.name == "birds"


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    path = picture_folder(tmp_path / "pictures")
    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(DataError, match=r"train/ape/000.png cannot be read: Permission denied$"):
        read_own_data(path, SHARE)


@pytest.mark.parametrize(("make", "name"), KINDS)
def test_what_does_not_fit_into_memory_is_refused(tmp_path, monkeypatch, make, name):
    path = make(tmp_path / name)
    monkeypatch.setattr(limits, "MAX_BYTES", 600)
    with pytest.raises(DataError, match=rf"{name}.* bytes in memory, allowed is 600"):
        read_own_data(path, SHARE)
