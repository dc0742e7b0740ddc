import shutil

import pytest
import torch
from torchvision.datasets.mnist import read_image_file, read_label_file

from lifline.data.datasets import MNIST
from lifline.data.idx import decode_idx, load_images
from lifline.errors import DataError


@pytest.fixture
def test_files(tmp_path, mnist_folder):
    """A folder with copies of the test images and labels."""
    for file in (MNIST.test[0], MNIST.test[1]):
        shutil.copy(mnist_folder / file.name, tmp_path)
    return tmp_path


def test_decodes_as_torchvision_does(mnist_folder):
    for subset, prefix, count in (("train", "train", 60_000), ("test", "t10k", 10_000)):
        data = load_images(MNIST, mnist_folder, subset)
        assert torch.equal(data.images.squeeze(1), read_image_file(str(mnist_folder / f"{prefix}-images-idx3-ubyte")))
        assert torch.equal(data.labels, read_label_file(str(mnist_folder / f"{prefix}-labels-idx1-ubyte")))
        assert data.images.shape == (count, 1, 28, 28)
        assert data.labels.shape == (count,)


def test_a_missing_file_is_named(test_files):
    (test_files / MNIST.test[1].name).unlink()
    with pytest.raises(DataError, match=f"{MNIST.test[1].name} is missing; `dvc repro download` fetches it"):
        load_images(MNIST, test_files, "test")


@pytest.mark.parametrize("length", [0, 3, 15, 16, 1000, 7_840_015])
def test_a_truncated_file_is_refused(test_files, length):
    path = test_files / MNIST.test[0].name
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DataError, match=rf"{MNIST.test[0].name} is .*allowed is"):
        load_images(MNIST, test_files, "test")


def test_a_longer_file_is_refused(test_files):
    with (test_files / MNIST.test[0].name).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(DataError, match="7840017 bytes, allowed is 7840016"):
        load_images(MNIST, test_files, "test")


def test_a_flipped_bit_is_refused(test_files):
    path = test_files / MNIST.test[0].name
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"its SHA-256 is .*, allowed is {MNIST.test[0].sha256}"):
        load_images(MNIST, test_files, "test")


def test_swapped_images_and_labels_are_refused(test_files):
    images, labels = test_files / MNIST.test[0].name, test_files / MNIST.test[1].name
    content = images.read_bytes()
    shutil.copy(labels, images)
    labels.write_bytes(content)
    with pytest.raises(DataError, match=f"is not {MNIST.test[0].name}: it starts with 00000801"):
        load_images(MNIST, test_files, "test")


def test_training_and_test_files_are_not_mixed_up(test_files, mnist_folder):
    shutil.copy(mnist_folder / "train-labels-idx1-ubyte", test_files / MNIST.test[1].name)
    with pytest.raises(DataError, match=f"is not {MNIST.test[1].name}"):
        load_images(MNIST, test_files, "test")


def test_labels_beyond_the_classes_are_refused(test_files):
    of_five_classes = MNIST._replace(class_names=tuple("01234"))
    with pytest.raises(DataError, match=f"{MNIST.test[1].name} holds the label 9, allowed is 0 to 4"):
        load_images(of_five_classes, test_files, "test")


def test_the_published_files_are_known():
    assert [file.num_bytes for file in MNIST.files] == [47_040_016, 60_008, 7_840_016, 10_008]


def test_an_error_names_where_the_bytes_came_from():
    with pytest.raises(DataError, match=r"^somewhere is not"):
        decode_idx(b"", MNIST.test[1], "somewhere")
