import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays, integer_dtypes, unsigned_integer_dtypes

from lifline.download import limits
from lifline.download.arrays import read_arrays
from lifline.errors import DataError
from tests.download.own_data import as_sets, pairs, random_images

LABELS = np.arange(6) % 3
PIXELS = arrays(np.uint8, st.tuples(st.just(6), st.integers(4, 9), st.integers(4, 9)))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("arrays") / "own.npz"


def read(file, images, labels=LABELS, **others):
    np.savez(file, x_train=images, y_train=labels, **others)
    return read_arrays(file)


@given(PIXELS, st.sampled_from([np.float16, ">f4", np.float32, np.float64]))
def test_floats_of_0_to_1_give_back_the_bytes_that_they_were(file, pixels, dtype):
    assert as_sets(read(file, (pixels / 255).astype(dtype)).train) == pairs(pixels, LABELS)


@given(PIXELS, integer_dtypes(sizes=(16, 32, 64)) | unsigned_integer_dtypes())
def test_whole_numbers_are_pixels_of_whatever_type(file, pixels, dtype):
    assert as_sets(read(file, pixels.astype(dtype)).train) == pairs(pixels, LABELS)


@given(PIXELS, st.sampled_from("CF"), st.permutations(range(3)))
def test_the_order_in_memory_is_of_no_matter(file, pixels, order, axes):
    laid_out = np.asarray(pixels.transpose(axes), order=order).transpose(np.argsort(axes))
    assert as_sets(read(file, laid_out).train) == pairs(pixels, LABELS)


def test_bits_are_black_and_white(file):
    bits = random_images(6, 5, 4) > 127
    assert as_sets(read(file, bits).train) == pairs(bits.astype(np.uint8) * 255, LABELS)


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_come_last_or_first(file, channels):
    images = random_images(6, 5, 4, channels)
    last, first = read(file, images), read(file, np.moveaxis(images, 3, 1))
    assert last.train.images.shape == (6, channels, 5, 4)
    assert as_sets(last.train) == as_sets(first.train) == pairs(images, LABELS)


def test_test_images_and_class_names_are_read(file):
    images, others = random_images(6, 5, 4), random_images(2, 5, 4)
    names = {"class_names": np.array(["cat", "dog", "great ape"])}
    parts = read(file, images, x_test=others, y_test=np.array([1, 2], dtype=np.uint64), **names)
    assert parts.class_names == ("cat", "dog", "great ape")
    assert as_sets(parts.test) == pairs(others, [1, 2])


def test_packed_files_are_read(file):
    images = random_images(6, 5, 4)
    np.savez_compressed(file, x_train=images, y_train=LABELS)
    parts = read_arrays(file)
    assert as_sets(parts.train) == pairs(images, LABELS)
    assert parts.class_names == ("0", "1", "2")
    assert parts.test is None


def test_memory_is_counted_in_the_type_that_is_stored(file, monkeypatch):
    monkeypatch.setattr(limits, "MAX_BYTES", 1000)
    images = random_images(6, 5, 4)
    assert as_sets(read(file, images).train) == pairs(images, LABELS)
    with pytest.raises(DataError, match="x_train brings the data set to 1,008 bytes in memory, allowed is 1,000"):
        read(file, images / 255)
