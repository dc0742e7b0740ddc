import io
import zlib

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifline.errors import ModelError
from lifline.imports.hdf5 import read_tree

SECRET = b"secret"


def file_with(make):
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        make(file)
    return content.getvalue()


def ordinary(file):
    file["text"] = "a word"
    file.create_dataset("edges", data=[["a", "b"], ["b", "c"]])
    file.create_dataset("group/values", data=np.arange(1000, dtype=np.float32), compression="gzip", shuffle=True)
    file["group/number"] = 7


def test_what_is_in_a_file_comes_back():
    tree = read_tree(file_with(ordinary), "file")
    assert tree["text"] == "a word"
    assert tree["edges"] == [["a", "b"], ["b", "c"]]
    assert tree["group"]["number"].item() == 7
    assert tree["group"]["values"].dtype == np.float32
    np.testing.assert_array_equal(tree["group"]["values"], np.arange(1000))


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret.h5"
    with h5py.File(path, "w") as file:
        file["data"] = np.frombuffer(SECRET, np.uint8)
    (tmp_path / "secret.bin").write_bytes(SECRET)
    return path


def external_link(file, path):
    file["data"] = h5py.ExternalLink(str(path), "/data")


def soft_link(file, _):
    file["data"] = h5py.SoftLink("/elsewhere")


def virtual_dataset(file, path):
    layout = h5py.VirtualLayout((6,), np.uint8)
    layout[:] = h5py.VirtualSource(str(path), "data", (6,))
    file.create_virtual_dataset("data", layout)


def external_storage(file, path):
    file.create_dataset("data", (6,), np.uint8, external=[(str(path.with_suffix(".bin")), 0, 6)])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (external_link, "'/data' is a link to elsewhere"),
        (soft_link, "'/data' is a link to elsewhere"),
        (virtual_dataset, "'/data' lies in other files"),
        (external_storage, "'/data' lies in other files"),
    ],
)
def test_nothing_outside_of_the_file_is_read(secret, make, message):
    with pytest.raises(ModelError, match=message) as raised:
        read_tree(file_with(lambda file: make(file, secret)), "file")
    assert SECRET.decode() not in str(raised.value)


def a_petabyte(file):
    file.create_dataset("data", (2**50,), np.uint8, chunks=(2**20,), compression="gzip")


def a_large_chunk(file):
    file.create_dataset("data", (1,), np.uint8, maxshape=(None,), chunks=(2**30,), compression="gzip")


def a_bomb(file):
    data = file.create_dataset("data", (1000,), np.uint8, chunks=(1000,), compression="gzip")
    data.id.write_direct_chunk((0,), zlib.compress(bytes(2**24)))


def itself(file):
    file["group/again"] = file.create_group("group")


def filters_to_load(file):
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((4,))
    plist.set_filter(32_015, h5py.h5z.FLAG_OPTIONAL)
    h5py.h5d.create(file.id, b"data", h5py.h5t.NATIVE_UINT8, h5py.h5s.create_simple((4,)), plist)


def not_a_number(file):
    file["data"] = np.array([1, np.nan])


def a_reference(file):
    file.create_dataset("data", data=file.ref, dtype=h5py.ref_dtype)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (a_petabyte, r"'/data' is \[1125899906842624\], more than its 0 bytes in the file can hold"),
        (a_large_chunk, r"'/data' is \[1\], more than its 0 bytes in the file can hold"),
        (a_bomb, "'/data' inflates to more than its 1,004 bytes"),
        (itself, "holds more than 2,000 groups and datasets, or 10 deep"),
        (filters_to_load, r"'/data' has filters \[32015\]; allowed are"),
        (not_a_number, "'/data' holds what is not a finite number"),
        (a_reference, "'/data' is of object; allowed are numbers and texts"),
    ],
)
def test_what_would_take_memory_or_run_code_is_refused(make, message):
    with pytest.raises(ModelError, match=message):
        read_tree(file_with(make), "file")


@given(st.data())
@settings(max_examples=8, derandomize=True)
def test_files_that_were_damaged_are_read_or_refused_in_one_line(data):
    content = bytearray(file_with(ordinary))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    for place in data.draw(st.lists(st.integers(0, max(0, len(content) - 1)), max_size=4)):
        if content:
            content[place] ^= data.draw(st.integers(1, 255))
    try:
        tree = read_tree(bytes(content), "file")
    except ModelError as refused:
        tree, message = {}, str(refused)
    else:
        message = "file "
    assert isinstance(tree, dict)
    assert message.startswith("file ")
    assert "\n" not in message


@pytest.mark.parametrize("content", [b"", b"no HDF5", bytes(1000), b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_what_is_no_hdf5_is_refused(content):
    with pytest.raises(ModelError, match="file is no HDF5 file, or damaged: "):
        read_tree(content, "file")


def test_a_length_that_was_damaged_takes_no_memory():
    """The length of a text, which HDF5 makes room for before it looks whether there is such a text."""
    content = bytearray(file_with(lambda file: file.create_dataset("text", data="x" * 50)))
    length = (50).to_bytes(4, "little")
    places = [place for place in range(len(content)) if content[place : place + 4] == length]
    assert places
    for place in places:
        content[place : place + 4] = (2**32 - 1).to_bytes(4, "little")
    with pytest.raises(ModelError, match="file is no HDF5 file, or damaged: "):
        read_tree(bytes(content), "file")
