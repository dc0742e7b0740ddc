"""The data set that the params name, as one file."""

import gzip
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ruamel.yaml import YAML

from lifline.data.datasets import load_dataset
from lifline.download.obtain import obtain_dataset
from lifline.download.published import read_published
from lifline.errors import DataError, LiflineError, ParamsError
from lifline.params import DataParams
from lifline.paths import DATA
from tests.conftest import ROOT

KNOWN = ["emnist_balanced", "fashion_mnist", "kmnist", "mnist"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with published data sets, and what somebody has of their own."""
    for name in KNOWN:
        shutil.copytree(ROOT / "data" / name, tmp_path / "data" / name)
    monkeypatch.chdir(tmp_path)
    write_own(0)
    return tmp_path


def write_own(brightness):
    images = np.full((40, 3, 5), brightness, np.uint8)
    np.savez("own.npz", x_train=images, y_train=np.arange(40) % 4)


def asked(dataset="../own.npz", **values):
    return DataParams.model_validate({"dataset": dataset, "test_share": 0.3, "validation_size": 10} | values)


def obtain(*arguments, **values):
    said = []
    return *obtain_dataset(asked(*arguments, **values), DATA, said.append), said


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_published_is_described_whole(name):
    published = read_published(ROOT / "data" / name)
    info = published.info(name)
    assert info.shape == (1, 28, 28)
    assert len(set(info.class_names)) == len(info.class_names) == {"emnist_balanced": 47}.get(name, 10)
    assert len(published.mirrors) > 0
    assert all(file.sha256 or file.md5 or published.archive for file in published.all_files)
    assert info.licence
    assert info.published.startswith("http")


def test_own_images_become_the_file(place):
    dataset, source, said = obtain()
    assert source == "../own.npz"
    assert load_dataset(DATA).sha256 == dataset.sha256
    assert (len(dataset.train.labels), len(dataset.test.labels)) == (28, 12)  # three of each class of ten
    assert said == ["data/images.safetensors: 28 training and 12 test images, grey, 3 x 5 pixels, 4 classes"]


def test_own_images_are_read_anew_and_give_the_same_file_until_files_or_share_change(place):
    first, _, _ = obtain()
    assert obtain(validation_size=5)[0].sha256 == first.sha256
    write_own(1)
    changed, source, _ = obtain()
    assert source == "../own.npz"
    assert changed.sha256 != first.sha256
    assert len(obtain(test_share=0.5)[0].test.labels) == 20


def test_a_damaged_file_is_made_again(place):
    first, *_ = obtain()
    content = bytearray(DATA.read_bytes())
    content[-1] ^= 1
    DATA.write_bytes(content)
    assert obtain()[0].sha256 == first.sha256
    assert load_dataset(DATA).sha256 == first.sha256


def test_a_data_set_is_added_by_its_description(place, monkeypatch):
    """A folder with a dataset.yaml: what it is, which files, where they are."""
    (place / "mirror").mkdir()
    for part in ("train", "test"):
        for kind, shape in (("images", (12, 4, 6)), ("labels", (12,))):
            header = bytes([0, 0, 8, len(shape)]) + b"".join(length.to_bytes(4, "big") for length in shape)
            values = (np.arange(np.prod(shape)) % 3).astype(np.uint8).tobytes()
            (place / f"mirror/{part}-{kind}.gz").write_bytes(gzip.compress(header + values))
    files = {
        f"{part}_{kind}": {"name": f"{part}-{kind}", "shape": [12, 4, 6] if kind == "images" else [12]}
        for part in ("train", "test") for kind in ("images", "labels")
    }  # fmt: skip
    described = {
        "title": "Threes", "shape": [1, 4, 6], "class_names": ["a", "b", "c"], "preparation": "plain",
        "published": "https://example.org", "licence": "none", "files": files, "mirrors": [(place / "mirror").as_uri()],
    }  # fmt: skip
    (place / "data/threes").mkdir()
    with (place / "data/threes/dataset.yaml").open("w") as file:
        YAML().dump(described, file)
    dataset, source, _ = obtain("threes")
    assert dataset.info.title == "Threes"
    assert dataset.info.class_names == ("a", "b", "c")
    assert dataset.train.images.shape == (12, 1, 4, 6)
    assert source == (place / "mirror").as_uri()


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("mnsit", "data.dataset is mnsit, but data/mnsit is not there; allowed are emnist_balanced, fashion_mnist, "),
        ("/no/such", "data.dataset is /no/such, but /no/such is not there"),
        ("..", "has no images; allowed are"),
        (".", "has no images; allowed are"),
    ],
)
def test_what_is_no_data_set_is_named_with_what_is(place, dataset, message):
    with pytest.raises(LiflineError) as raised:
        obtain(dataset)
    assert message in str(raised.value)
    assert not DATA.exists()


def test_a_validation_that_leaves_nothing_to_learn_from_is_refused_before_anything_is_written(place):
    with pytest.raises(ParamsError, match=r"validation_size is 28, but own has 28 training .* from 1 to 27"):
        obtain(validation_size=28)
    assert not DATA.exists()


def test_what_was_there_stays_when_nothing_serves(place, monkeypatch):
    first, *_ = obtain()
    monkeypatch.setenv("LIFLINE_DATA_SOURCE", "/no/such/folder")
    with pytest.raises(DataError):
        obtain("kmnist")
    assert load_dataset(DATA).sha256 == first.sha256


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title: MNIST", "titel: MNIST", r"data/mnist/dataset.yaml: tit(el is unknown|le is not allowed)"),
        ("sha256: ba89", "sha256: XX89", "files.train_images.sha256 is not allowed"),
        ("title: MNIST", "title: [", r"dataset.yaml is not valid YAML: line 3"),
        ("preparation: handwriting", "preparation: magic", "preparation is not allowed"),
    ],
)
def test_a_wrong_description_is_named_by_its_place(place, old, new, message):
    path = place / "data/mnist/dataset.yaml"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match=message) as raised:
        obtain("mnist")
    assert "\n" not in str(raised.value)


def test_several_at_once_all_succeed(place):
    start = threading.Barrier(4)

    def make():
        start.wait()
        return obtain()[0].sha256

    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            assert len({made.result() for made in [pool.submit(make) for _ in range(4)]}) == 1
            DATA.unlink()


def test_what_a_killed_one_left_goes(place):
    (place / "data/.images.safetensors.tmp").write_bytes(b"half")
    obtain()
    assert [path.name for path in (place / "data").glob("*images*")] + list((place / "data").glob(".*")) == [DATA.name]
