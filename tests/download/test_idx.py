import gzip
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from torchvision.datasets.mnist import read_image_file

from lifline.download.idx import decode_idx, read_idx_folder
from lifline.errors import DataError
from tests.download.own_data import as_sets, encode_idx, pairs, random_images, write_idx

LABELS = np.arange(6) % 3


@given(arrays(np.uint8, array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=6)))
def test_decodes_what_was_encoded(array):
    decoded = decode_idx(encode_idx(array), "a file")
    assert decoded.dtype == torch.uint8
    assert np.array_equal(decoded.numpy(), array)


def test_decodes_as_torchvision_does(tmp_path):
    path = tmp_path / "images"
    path.write_bytes(encode_idx(random_images(4, 7, 5)))
    assert torch.equal(decode_idx(path.read_bytes(), str(path)), read_image_file(str(path)))


@given(st.binary(max_size=40))
def test_any_bytes_are_decoded_or_refused_by_name(content):
    words = "a file is decoded"
    try:
        decode_idx(content, "a file")
    except DataError as error:
        words = str(error)
    assert words.startswith("a file is ")


@given(arrays(np.uint8, array_shapes(max_dims=4, max_side=4)), st.data())
def test_no_shorter_and_no_longer_file_is_decoded(array, data):
    content = encode_idx(array)
    length = data.draw(st.integers(0, len(content) - 1))
    for wrong in (content[:length], content + b"\0"):
        with pytest.raises(DataError, match=r"^a file is "):
            decode_idx(wrong, "a file")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("colours", [(), (3,)])
def test_a_folder_is_read(tmp_path, packed, colours):
    images, others = random_images(6, 4, 5, *colours), random_images(3, 4, 5, *colours)
    write_idx(tmp_path, images, LABELS, packed=packed)
    write_idx(tmp_path, others, np.array([2, 0, 2]), "t10k", packed=not packed)
    parts = read_idx_folder(tmp_path)
    assert parts.class_names == ("0", "1", "2")
    assert as_sets(parts.train) == pairs(images, LABELS)
    assert as_sets(parts.test) == pairs(others, [2, 0, 2])
    assert parts.train.images.shape == (6, (len(colours) and 3) or 1, 4, 5)
    assert parts.train.labels.dtype == torch.int64


def test_classes_have_the_names_in_the_file_beside(tmp_path):
    write_idx(tmp_path, random_images(6, 4, 5), LABELS)
    (tmp_path / "classes.txt").write_bytes("\ufeffcat\r\ngreat ape\r\nöre\r\n".encode())
    parts = read_idx_folder(tmp_path)
    assert parts.class_names == ("cat", "great ape", "öre")
    assert parts.test is None


def test_a_plain_file_is_read_before_a_packed_one(tmp_path):
    plain, packed = random_images(2, 6, 4, 5)
    write_idx(tmp_path, packed, LABELS, packed=True)
    write_idx(tmp_path, plain, LABELS)
    assert as_sets(read_idx_folder(tmp_path).train) == pairs(plain, LABELS)


def test_what_is_packed_beyond_the_shape_is_not_unpacked(tmp_path):
    write_idx(tmp_path, random_images(6, 4, 5), LABELS)
    bomb = gzip.compress(encode_idx(random_images(6, 4, 5)) + bytes(20_000_000))
    path = tmp_path / "train-images-idx3-ubyte"
    path.unlink()
    path.with_suffix(".gz").write_bytes(bomb)
    with pytest.raises(DataError, match="137 bytes or more, allowed is 136"):
        read_idx_folder(tmp_path)


def test_a_shape_beyond_memory_is_refused_before_anything_is_read(tmp_path):
    write_idx(tmp_path, random_images(6, 4, 5), LABELS)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(struct.pack(">HBB3I", 0, 8, 3, 2**31, 512, 512))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, 2**31))
    with pytest.raises(DataError, match="train-images-idx3-ubyte brings the data set to 562,967,133,290,496 bytes"):
        read_idx_folder(tmp_path)
