"""The data set that the params name, as one file."""

import gzip
import hashlib
import math
import shutil
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from dvc.exceptions import NotDvcRepoError
from PIL import Image
from ruamel.yaml import YAML

from lifline.data.datasets import load_dataset
from lifline.download.limits import check_class_names, check_image
from lifline.download.obtain import load_obtained, obtain_dataset
from lifline.download.published import read_published
from lifline.errors import DataError, LiflineError, ParamsError
from lifline.params import read_params
from lifline.paths import DATA
from lifline.provenance import recorded_source
from tests.conftest import ROOT, as_idx

KNOWN = sorted(path.parent.name for path in (ROOT / "data").glob("*/dataset.yaml"))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with published data sets, and what somebody has of their own."""
    for name in KNOWN:
        shutil.copytree(ROOT / "data" / name, tmp_path / "data" / name)
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    write_own(0)
    return tmp_path


def write_own(brightness):
    images = np.full((40, 3, 5), brightness, np.uint8)
    np.savez("own.npz", x_train=images, y_train=np.arange(40) % 4)


def obtain(dataset="../own.npz", layers="9", **values):
    """The data set that is made, who served it, and what was said."""
    said = []
    data = {"dataset": dataset, "test_share": 0.3, "validation_size": 10, "gate_size": 0} | values
    wanted = {"network.layers": layers} | {f"data.{name}": value for name, value in data.items()}
    obtain_dataset(read_params(ROOT / "params.yaml").with_values(wanted), DATA, said.append)
    dataset = load_dataset(DATA)
    return dataset, recorded_source(dataset.sha256), said


OTHERS = r"is \.\./(another/)?own.npz, but data/images.safetensors was made of other images; `dvc repro download`"


def run_dvc(*arguments):
    subprocess.run([sys.executable, "-m", "dvc", *arguments], check=True, timeout=120)


def test_what_was_made_is_read_where_the_params_name_it(place):
    shutil.copy("own.npz", "data/my own, v.2.npz")
    params = read_params(ROOT / "params.yaml")
    for name in ("../own.npz", str(Path("own.npz").resolve()), "my own, v.2.npz"):
        made, *_ = obtain(name, test_share=params.data.test_share)
        assert load_obtained(params.with_values({"data.dataset": name})).sha256 == made.sha256
    with pytest.raises(DataError, match=r"holds my-own-v.2, but data.dataset is mnist; `dvc repro download` makes it"):
        load_obtained(params)


def test_images_that_were_split_by_another_share_are_told(place):
    params = read_params(ROOT / "params.yaml").with_values({"data.dataset": "../own.npz", "data.test_share": 0.5})
    obtain(test_share=0.3)
    said = r"was split by data.test_share 0.3, but it is 0.5; `dvc repro download` splits it by that"
    with pytest.raises(DataError, match=said):
        load_obtained(params)
    obtain(test_share=0.5)
    assert len(load_obtained(params).test.labels) == 20
    images = np.zeros((8, 3, 5), np.uint8)
    np.savez("own.npz", x_train=images, y_train=np.arange(8) % 4, x_test=images, y_test=np.arange(8) % 4)
    obtain(test_share=0.3, validation_size=2)  # which has images to be tested on
    assert len(load_obtained(params).test.labels) == 8


def of_stage(dataset):
    """Let DVC know a stage, and that params name its data set."""
    outs = "outs: [images.safetensors: {persist: true}]"
    Path("dvc.yaml").write_text(
        f"stages: {{download: {{wdir: data, cmd: cd .. && true, deps: [{dataset}, mnist], {outs}}}}}\n"
    )
    return read_params(ROOT / "params.yaml").with_values({"data.dataset": dataset})


def test_own_images_that_have_changed_since_are_told(place):
    params = of_stage("../own.npz")
    share = params.data.test_share
    obtain(test_share=share)
    load_obtained(params)  # which no DVC knows
    run_dvc("init", "--no-scm", "--quiet")
    load_obtained(params)
    run_dvc("repro", "--quiet")
    load_obtained(params)

    kept = DATA.read_bytes()
    write_own(7)
    with pytest.raises(DataError, match=OTHERS):
        load_obtained(params)
    obtain(test_share=share)
    run_dvc("repro", "--quiet")
    load_obtained(params)

    DATA.unlink()
    DATA.write_bytes(kept)  # older than dvc.lock
    with pytest.raises(DataError, match=OTHERS):
        load_obtained(params)
    run_dvc("checkout", "--force", "--quiet")
    load_obtained(params)

    Path("another").mkdir()
    shutil.move("own.npz", "another/own.npz")
    load_obtained(params)  # as where somebody has but the file that was made of it
    with pytest.raises(DataError, match=OTHERS):
        load_obtained(of_stage("../another/own.npz"))


def test_where_dvc_cannot_tell_it_is_not_asked(place, monkeypatch):
    params = of_stage("../own.npz")
    obtain(test_share=params.data.test_share)
    run_dvc("init", "--no-scm", "--quiet")
    run_dvc("repro", "--quiet")
    write_own(7)
    for error in (NotDvcRepoError, PermissionError, sqlite3.OperationalError):

        def fail(error=error):
            raise error("it cannot be read")

        monkeypatch.setattr("lifline.download.obtain.Repo", fail)
        load_obtained(params)


def test_own_images_are_not_taken_for_published_ones_of_the_same_name(place):
    Path("own").mkdir()
    shutil.copy("own.npz", "own/mnist.npz")
    obtain("../own/mnist.npz")
    with pytest.raises(DataError, match=r"data.dataset is mnist, but data/images.safetensors was made of other images"):
        load_obtained(read_params(ROOT / "params.yaml"))


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_published_is_described_whole(name):
    published = read_published(ROOT / "data" / name)
    info = published.info(name)
    check_class_names(info.class_names, name, "name")
    check_image(*info.shape, name)
    assert len(published.mirrors) > 0
    assert all(file.sha256 or file.md5 or published.archive for file in published.all_files)
    assert info.licence
    assert info.published.startswith("http")


def test_own_images_become_the_file(place):
    dataset, source, said = obtain()
    assert source == "../own.npz"
    assert load_dataset(DATA).sha256 == dataset.sha256
    assert (len(dataset.train.labels), len(dataset.test.labels)) == (28, 12)  # three of each class of ten
    assert said == ["data/images.safetensors: own, 28 training and 12 test images, grey, 3 x 5 pixels, 4 classes"]


def test_own_images_are_read_anew(place):
    first, *_ = obtain()
    assert obtain(validation_size=5)[0].sha256 == first.sha256
    write_own(1)
    assert obtain()[0].sha256 != first.sha256
    assert len(obtain(test_share=0.5)[0].test.labels) == 20


def test_a_damaged_file_is_made_again(place):
    first, *_ = obtain()
    content = bytearray(DATA.read_bytes())
    content[-1] ^= 1
    DATA.write_bytes(content)
    assert obtain()[0].sha256 == first.sha256
    assert load_dataset(DATA).sha256 == first.sha256


@pytest.fixture
def threes(place):
    """A folder for a published data set of three classes, and what its dataset.yaml says."""
    (place / "mirror").mkdir()
    files = {}
    for part in ("train", "test"):
        for kind, shape in (("images", (12, 4, 6)), ("labels", (12,))):
            content = as_idx(torch.arange(math.prod(shape)).reshape(shape) % 3)
            (place / f"mirror/{part}-{kind}.gz").write_bytes(gzip.compress(content))
            sha256 = hashlib.sha256(content).hexdigest()
            files[f"{part}_{kind}"] = {"name": f"{part}-{kind}", "shape": list(shape), "sha256": sha256}
    (place / "data/threes").mkdir()
    return {
        "title": "Threes", "shape": [1, 4, 6], "class_names": ["a", "b", "c"], "preparation": "plain",
        "published": "https://example.org", "licence": "none", "files": files, "mirrors": [(place / "mirror").as_uri()],
    }  # fmt: skip


def describe_threes(described):
    with Path("data/threes/dataset.yaml").open("w") as file:
        YAML().dump(described, file)


def test_a_data_set_is_added_by_its_description(place, threes):
    """A folder with a dataset.yaml: what it is, which files, where they are."""
    describe_threes(threes)
    dataset, source, _ = obtain("threes", validation_size=2)
    assert dataset.info.title == "Threes"
    assert dataset.info.class_names == ("a", "b", "c")
    assert dataset.train.images.shape == (12, 1, 4, 6)
    assert source == (place / "mirror").as_uri()


def test_what_was_fetched_once_is_not_fetched_again(place, threes):
    describe_threes(threes)
    first, source, _ = obtain("threes", validation_size=2)
    (place / "mirror").rename(place / "gone")
    assert obtain()[0].sha256 != first.sha256
    again, served_by, said = obtain("threes", validation_size=3)
    assert (again.sha256, served_by) == (first.sha256, source)
    assert len(said) == 1
    written = DATA.stat().st_mtime_ns
    obtain("threes", validation_size=2)
    assert DATA.stat().st_mtime_ns == written


@pytest.mark.parametrize(
    "values", [{"class_names": ["a", "b", "z"]}, {"title": "3"}, {"transposed": True, "shape": [1, 6, 4]}]
)
def test_another_description_makes_another_file(place, threes, values):
    describe_threes(threes)
    first, *_ = obtain("threes", validation_size=2)
    describe_threes(threes | values)
    changed, *_ = obtain("threes", validation_size=2)
    assert changed.sha256 != first.sha256
    assert changed.info.class_names == tuple((threes | values)["class_names"])
    assert changed.info.shape == tuple((threes | values)["shape"])


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("train_images", {"sha256": None}, "train-images has neither sha256 nor md5, and is in no archive"),
        ("test_images", {"shape": [12, 4, 5]}, "test-images and test-labels are 12 x 4 x 5 and 12 bytes, which are no"),
        ("train_labels", {"shape": [11]}, "train-images and train-labels are 12 x 4 x 6 and 11 bytes, which are no"),
    ],
)
def test_what_cannot_be_verified_or_does_not_fit_is_refused(place, threes, file, values, message):
    threes["files"][file] |= values
    describe_threes(threes)
    with pytest.raises(DataError, match=message):
        obtain("threes")
    assert not DATA.exists()


def test_own_images_may_not_have_the_name_of_what_is_published_inside_data_alone(place):
    """Elsewhere a dataset.yaml is somebody else's."""
    folder = place / "pictures"
    for name in ("ape", "bee"):
        (folder / "train" / name).mkdir(parents=True)
        for number in range(8):
            Image.new("L", (4, 3), number).save(folder / "train" / name / f"{number}.png")
    (folder / "dataset.yaml").write_text("nc: 2\n")
    assert obtain("../pictures", validation_size=2)[0].info.class_names == ("ape", "bee")
    folder.rename(place / "data/pictures")
    with pytest.raises(DataError, match=r"data/pictures/dataset.yaml describes no published data set: title is not"):
        obtain("pictures", validation_size=2)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("mnsit", "data.dataset is mnsit, but data/mnsit is not there; allowed are emnist_balanced, fashion_mnist, "),
        ("/no/such", "data.dataset is /no/such, but /no/such is not there"),
        ("x" * 300, "is not there; allowed are"),
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
    with pytest.raises(DataError, match=r"validation_size is 28; allowed is a whole number from 1 to 27"):
        obtain(validation_size=28)
    assert not DATA.exists()


@pytest.mark.parametrize(("dataset", "kernel", "allowed"), [("../own.npz", 4, 3), ("threes", 5, 4)])
def test_layers_that_do_not_fit_the_images_are_refused_before_anything_is_written(
    place, threes, dataset, kernel, allowed
):
    describe_threes(threes)
    with pytest.raises(ParamsError, match=rf"^network\.layers is '9C{kernel}', .*kernels of 1 to {allowed}$"):
        obtain(dataset, f"9C{kernel}", validation_size=2)
    assert not DATA.exists()
    obtain(dataset, f"9C{allowed}", validation_size=2)
    with pytest.raises(ParamsError):  # of what is there already
        obtain(dataset, f"9C{kernel}", validation_size=2)


def test_what_was_there_stays_when_nothing_serves(place, monkeypatch):
    first, *_ = obtain()
    monkeypatch.setenv("LIFLINE_DATA_SOURCE", "/no/such/folder")
    with pytest.raises(DataError):
        obtain("kmnist")
    assert load_dataset(DATA).sha256 == first.sha256


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "title: MNIST",
            "titel: MNIST",
            r"mnist/dataset.yaml describes no published data set: tit(el is|le is not)",
        ),
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
