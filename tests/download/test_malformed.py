import os
import shutil
import struct
import zipfile
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lifline.download.own import read_own_data
from lifline.errors import DataError
from lifline.paths import DATA
from lifline.presets import change_params
from tests.conftest import assert_one_line_error
from tests.download.own_data import IMAGES, LABELS, SHARE, arrays_file, encode_idx, idx_folder, picture_folder


def picture_bytes(image, kind="PNG"):
    content = BytesIO()
    Image.fromarray(image).save(content, kind)
    return content.getvalue()


def replaced(name, content):
    """Write other bytes into a file of a data set."""

    def spoil(path):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content(path / name) if callable(content) else content)

    return spoil


def removed(name):
    return lambda path: (path / name).unlink()


def arrays(**changed):
    """Write other arrays, or with None leave them out."""
    original = {"x_train": IMAGES, "y_train": LABELS}
    kept = {name: array for name, array in {**original, **changed}.items() if array is not None}
    return lambda path: np.savez(path, **kept)


def member(name, content, **options):
    """Add bytes as an array, or instead of one."""

    def spoil(path):
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: archive.read(info) for info in archive.infolist()}
        with zipfile.ZipFile(path, "w", **options) as archive:
            for other, old in {**members, name: content}.items():
                archive.writestr(other, old)

    return spoil


def array_header(shape, dtype="|u1", version=b"\1\0"):
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header


def with_value(array, place, value):
    changed = array.copy()
    changed[place] = value
    return changed


def all_in_a_file(path):
    shutil.rmtree(path)
    path.write_text("data")


def a_loop(name):
    def spoil(path):
        (path / name).unlink(missing_ok=True)
        (path / name).symlink_to(path / name)

    return spoil


FLOATS = IMAGES / 255
IDX_IMAGES, IDX_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"

BAD_IDX = [
    (removed(IDX_LABELS), rf"{IDX_LABELS} is missing"),
    (removed(IDX_IMAGES), rf"{IDX_IMAGES} is missing"),
    (removed("t10k-labels-idx1-ubyte"), "t10k-labels-idx1-ubyte is missing"),
    (removed("t10k-images-idx3-ubyte"), "t10k-images-idx3-ubyte is missing"),
    (replaced(IDX_IMAGES, b""), rf"{IDX_IMAGES} is no IDX file.*starts with nothing"),
    (replaced(IDX_IMAGES, b"\x1f\x8b\x08\0\0\0"), rf"{IDX_IMAGES} is no IDX file.*starts with 1f8b0800"),
    (replaced(IDX_IMAGES, b"\0\0\x0d\3" + bytes(40)), r"is no IDX file of unsigned bytes.*00000d03"),
    (replaced(IDX_IMAGES, b"\0\0\x08\5" + bytes(40)), r"is no IDX file.*starts with 00000805"),
    (replaced(IDX_IMAGES, b"\0\0\x08\3\0\0\0\2"), rf"{IDX_IMAGES} is damaged: it ends within its header"),
    (replaced(IDX_IMAGES, encode_idx(IMAGES)[:-1]), rf"{IDX_IMAGES} is damaged: it has 815 bytes, allowed is 816"),
    (replaced(IDX_IMAGES, encode_idx(IMAGES) + b"\0"), rf"{IDX_IMAGES} is damaged: it has 817 bytes"),
    (replaced(IDX_IMAGES, encode_idx(LABELS)), rf"{IDX_IMAGES} has the shape \(40,\)"),
    (replaced(IDX_IMAGES, encode_idx(IMAGES[:39])), rf"{IDX_LABELS} has 40 labels, allowed is 39"),
    (replaced(IDX_IMAGES, encode_idx(IMAGES[:, :, :0])), rf"{IDX_IMAGES} has images 0 wide and 5 high"),
    (
        replaced(IDX_IMAGES, encode_idx(np.zeros((40, 1, 513)))),
        r"images 513 wide and 1 high, allowed is 1 to 512",
    ),
    (replaced(IDX_LABELS, encode_idx(IMAGES)), rf"{IDX_LABELS} has the shape \(40, 5, 4\)"),
    (replaced(IDX_LABELS, encode_idx(LABELS * 2)), rf"{IDX_LABELS} holds the label 2 for image 20, allowed is 0 to 1"),
    (replaced(IDX_LABELS, encode_idx(LABELS * 0)), r"has no image of the class 'bee' \(label 1\)"),
    (
        replaced("t10k-images-idx3-ubyte", encode_idx(IMAGES[:10, 1:])),
        r"t10k-images-idx3-ubyte has images of \(1, 4",
    ),
    (replaced("classes.txt", b"ape\n"), r"classes.txt has 1 class, allowed are 2"),
    (replaced("classes.txt", b""), r"classes.txt has 0 classes"),
    (replaced("classes.txt", b"ape\n\nbee\n"), r"classes.txt: line 2 is ''"),
    (replaced("classes.txt", b"ape\nbee\nape\n"), r"classes.txt: line 3 names the class 'ape' again"),
    (replaced("classes.txt", b"ape\nb\xe9e\n"), r"classes.txt is not UTF-8 at byte 5"),
    (replaced("classes.txt", b"ape\nb\x1b[0mee\n"), r"classes.txt: line 2 is 'b\\x1b\[0mee'"),
    (replaced("classes.txt", b"ape\n" + b"b" * 101), r"classes.txt: line 2 is 'bbb.*1 to 100 characters"),
    (replaced("classes.txt", b"\n".join(b"%d" % n for n in range(1001))), r"classes.txt has 1,001 classes"),
    (replaced("classes.txt", bytes(200_000)), r"classes.txt has 200,000 bytes, allowed is 102,000"),
    (replaced("train/ape/x.png", b""), r"data has both IDX files and a folder train"),
    (a_loop(IDX_IMAGES), rf"{IDX_IMAGES} cannot be read: Too many levels of symbolic links"),
    (lambda path: (removed(IDX_LABELS)(path), os.mkfifo(path / IDX_LABELS)), rf"{IDX_LABELS} is no file that can be"),
    (lambda path: (removed(IDX_LABELS)(path), (path / IDX_LABELS).mkdir()), rf"{IDX_LABELS} is no file that can be"),
    (
        lambda path: (removed(IDX_LABELS)(path), replaced(f"{IDX_LABELS}.gz", b"\0\0\x08\1")(path)),
        rf"{IDX_LABELS}.gz cannot be read: Not a gzipped file",
    ),
]

BAD_ARRAYS = [
    (lambda path: path.unlink(), r"data.npz is missing; allowed are"),
    (lambda path: (path.unlink(), path.symlink_to(path)), r"data.npz cannot be read: Too many levels"),
    (lambda path: path.write_bytes(b"data"), r"data.npz is damaged: File is not a zip file"),
    (lambda path: path.write_bytes(path.read_bytes()[:500]), r"data.npz is damaged: File is not a zip file"),
    (lambda path: path.write_bytes(path.read_bytes().replace(IMAGES.tobytes(), bytes(800))), r"is damaged: Bad CRC-32"),
    (arrays(x_train=None), r"data.npz lacks x_train; it has 'y_train'"),
    (arrays(y_train=None), r"data.npz lacks y_train"),
    (arrays(x_test=IMAGES), r"data.npz lacks y_test"),
    (arrays(y_test=LABELS), r"data.npz lacks x_test"),
    (arrays(x_valid=IMAGES), r"data.npz has 'x_valid', allowed are x_train, y_train"),
    (arrays(x_train=IMAGES.astype(object)), r"data.npz: x_train is of the type object, which takes unpickling"),
    (arrays(y_train=LABELS.astype(object)), r"data.npz: y_train is of the type object"),
    (arrays(class_names=np.array(["ape", "bee"], dtype=object)), r"data.npz: class_names is of the type object"),
    (arrays(class_names=np.array([b"ape", b"bee"])), r"data.npz: class_names is of the type \|S3"),
    (arrays(class_names=np.array(["ape"])), r"data.npz: class_names has 1 class"),
    (arrays(class_names=np.array(["ape", "ape"])), r"class_names: name 2 names the class 'ape' again"),
    (arrays(class_names=np.array(["ape", "bee", "cat"])), r"y_train has no image of the class 'cat' \(label 2\)"),
    (arrays(class_names=np.array(["a" * 101, "bee"])), r"class_names has room for 2 names of 101 characters"),
    (arrays(x_train=IMAGES.astype(complex)), r"x_train is of the type complex128"),
    (
        arrays(x_train=with_value(FLOATS, (3, 1, 1), np.nan)),
        r"x_train holds nan in image 3, allowed for float64",
    ),
    (arrays(x_train=with_value(FLOATS, (4, 0, 0), np.inf)), r"x_train holds inf in image 4"),
    (arrays(x_train=with_value(FLOATS, (39, 4, 3), -0.5)), r"x_train holds -0.5 in image 39"),
    (arrays(x_train=np.asfortranarray(with_value(FLOATS, (7, 4, 3), 2))), r"x_train holds 2.0 in image 7"),
    (
        arrays(x_train=with_value(IMAGES.astype(int), (2, 0, 0), 256)),
        r"x_train holds 256 in image 2, allowed for int64",
    ),
    (arrays(x_train=with_value(IMAGES.astype(int), (2, 0, 0), -1)), r"x_train holds -1 in image 2"),
    (arrays(x_train=IMAGES[0]), r"x_train has the shape \(5, 4\), allowed are"),
    (arrays(x_train=np.zeros((40, 5, 4, 2))), r"x_train has the shape \(40, 5, 4, 2\)"),
    (arrays(x_train=np.zeros((40, 3, 4, 3))), r"x_train has the shape \(40, 3, 4, 3\).*just one of the two"),
    (arrays(x_train=IMAGES[:0], y_train=LABELS[:0]), r"x_train has no images"),
    (arrays(x_train=np.zeros((40, 600, 4))), r"x_train has images 4 wide and 600 high, allowed is 1 to"),
    (arrays(y_train=LABELS[:-1]), r"y_train has 39 labels, allowed is 40"),
    (arrays(y_train=LABELS[:, None]), r"y_train has the shape \(40, 1\)"),
    (arrays(y_train=LABELS.astype(float)), r"y_train is of the type float64, allowed are whole numbers"),
    (arrays(y_train=LABELS - 1), r"y_train has 1 class"),
    (arrays(y_train=with_value(LABELS * 2, 5, -1)), r"y_train holds the label -1 for image 5"),
    (arrays(y_train=LABELS * 2), r"y_train has no image of the class '1' \(label 1\)"),
    (arrays(y_train=LABELS * 1000), r"y_train holds the label 1,000, allowed is 0 to 999"),
    (arrays(y_train=LABELS.astype(np.uint64) * 2**63), r"y_train holds the label 9,223,372,036,854,775,808"),
    (arrays(y_train=LABELS * 0), r"y_train has 1 class, allowed are 2 to 1,000"),
    (arrays(x_train=IMAGES[:2], y_train=np.array([0, 1])), r"data.npz has one image a class"),
    (arrays(x_train=FLOATS - 1), r"x_train holds -[\d.]+ in image 0, allowed for float\d\d is 0 to 1$"),
    (arrays(x_train=FLOATS * np.nan), r"x_train holds nan in image 0, allowed for float\d\d is 0 to 1$"),
    (arrays(x_test=IMAGES, y_test=LABELS * 2), r"y_test holds the label 2 for image 20, allowed is 0 to 1"),
    (arrays(x_test=IMAGES[:, 1:], y_test=LABELS), r"x_test has images of \(1, 4, 4\).*allowed is \(1, 5, 4\), as in"),
    (arrays(x_test=IMAGES[:0], y_test=LABELS[:0]), r"x_test has no images"),
    (member("x_train.npy", b"data"), r"data.npz: x_train is damaged: "),
    (member("x_train.npy", array_header((40, 5, 4), version=b"\2\0")), r"x_train is of version \(2, 0\)"),
    (
        member("x_train.npy", array_header((40, 5, 4)) + bytes(799)),
        r"x_train is damaged: it ends before its 800",
    ),
    (member("x_train.npy", array_header((40, 5, 4)) + bytes(801)), r"x_train is damaged: it is longer than its 800"),
    (
        member("x_train.npy", array_header((-40, 5, -4)) + bytes(800)),
        r"x_train is damaged: its shape is \(-40, 5",
    ),
    (member("x_train.npy", array_header("((" * 2000)), r"data.npz: x_train is damaged: "),
    (
        lambda path: (
            member("x_train.npy", array_header((10**10, 512, 512)))(path),
            member("y_train.npy", array_header((10**10,)))(path),
        ),
        r"x_train brings the data set to [\d,]+ bytes in memory",
    ),
    (member("x_train.npy", b"", compression=zipfile.ZIP_LZMA), r"x_train is packed in way 14"),
    (member("x.py\nz", b""), r"data.npz has 'x.py\\nz', allowed"),
]

BAD_FOLDERS = [
    (shutil.rmtree, r"data is missing; allowed are"),
    (all_in_a_file, r"data is no folder and no .npz file"),
    (lambda path: shutil.rmtree(path / "train"), r"data has no images; allowed are"),
    (lambda path: shutil.rmtree(path / "train/bee"), r"train has 1 class, allowed are 2"),
    (lambda path: (shutil.rmtree(path / "train"), (path / "train").mkdir()), r"train has 0 classes"),
    (lambda path: (shutil.rmtree(path / "train"), (path / "train").touch()), r"train cannot be read: Not a directory"),
    (lambda path: [file.unlink() for file in (path / "train/bee").iterdir()], r"train/bee has no picture"),
    (lambda path: [file.unlink() for file in path.glob("test/*/*")], r"test has no picture"),
    (lambda path: (path / "validation").mkdir(), r"validation is not read: allowed are the folders train and test"),
    (lambda path: (path / "train/ape/more").mkdir(), r"train/ape/more is no file that can be read"),
    (lambda path: os.mkfifo(path / "train/ape/pipe"), r"train/ape/pipe is no file that can be read"),
    (lambda path: (path / "train/\x1b[1m").mkdir(), r"data/train: folder 1 is '\\x1b\[1m'"),
    (
        lambda path: [(path / f"train/{n}").mkdir() for n in range(1000)],
        r"train has 1,002 classes, allowed are 2",
    ),
    (replaced("train/picture.png", picture_bytes(IMAGES[0])), r"train/picture.png is no folder; allowed are"),
    (replaced("train/ape/notes\n.txt", b"data"), r"train/ape/notes\\n.txt' is not a picture; allowed are PNG"),
    (replaced("train/ape/000.png", b""), r"train/ape/000.png is not a picture"),
    (replaced("train/ape/000.png", lambda path: path.read_bytes()[:60]), r"train/ape/000.png is damaged"),
    (
        replaced("train/bee/x.png", picture_bytes(IMAGES[0].T)),
        r"train/bee/x.png has 5 x 4 pixels, allowed is one size for all: 50 of the 51 pictures have 4 x 5; see ",
    ),
    (
        replaced("train/ape/000.png", picture_bytes(IMAGES[0].T)),  # the first
        r"train/ape/000.png has 5 x 4 pixels, allowed is one size for all: 49 of the 50 pictures have 4 x 5; see ",
    ),
    (
        replaced("test/bee/x.png", picture_bytes(IMAGES[0, 1:])),
        r"x.png has 4 x 4 pixels, allowed is one size for all",
    ),
    (replaced("train/ape/0.png", picture_bytes(np.zeros((1, 513), np.uint8))), r"0.png has images 513 wide and 1 high"),
    (replaced("train/ape/0.png", picture_bytes(np.zeros((20_000, 20_000), bool))), r"0.png has far too many pixels"),
    (
        replaced("train/ape/0.tiff", picture_bytes(FLOATS[0].astype(np.float32), "TIFF")),
        r"0.tiff has .* mode F",
    ),
    (replaced("train/ape/0.ppm", picture_bytes(IMAGES[0], "PPM")), r"0.ppm is not a picture"),
    (replaced("test/cat/0.png", picture_bytes(IMAGES[0])), r"test/cat is of no class"),
    (replaced("classes.txt", b"ape\nbee\ncat\n"), r"classes.txt names the class 'cat', of which train has no folder"),
    (replaced("classes.txt", b"ape\ncat\n"), r"classes.txt lacks the class 'bee', of which train has a folder"),
    (replaced("classes.txt", b"ape\nape\n"), r"classes.txt: line 2 names the class 'ape' again"),
    (a_loop("classes.txt"), r"classes.txt cannot be read: Too many levels"),
    (a_loop("train/ape/loop.png"), r"loop.png cannot be read: Too many levels"),
    (lambda path: (path / "train/ape/out").symlink_to("nowhere"), r"train/ape/out cannot be read: No such file"),
    (
        lambda path: (removed("classes.txt")(path), (path / "train/loop").symlink_to(path / "train")),
        r"train/loop/ape is no file that can be read",
    ),
]

BAD = [
    *((idx_folder, "data", spoil, message) for spoil, message in BAD_IDX),
    *((arrays_file, "data.npz", spoil, message) for spoil, message in BAD_ARRAYS),
    *((picture_folder, "data", spoil, message) for spoil, message in BAD_FOLDERS),
]


@pytest.mark.parametrize(("make", "name", "spoil", "message"), BAD, ids=[message for *_, message in BAD])
def test_what_is_malformed_is_refused_in_a_line_that_names_it(tmp_path, make, name, spoil, message):
    path = make(tmp_path / name)
    spoil(path)
    with pytest.raises(DataError, match=message) as error:
        read_own_data(path, SHARE)
    assert str(error.value).isprintable()
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize(
    ("make", "name", "spoil", "message"),
    [
        (
            idx_folder,
            "own",
            replaced(IDX_IMAGES, encode_idx(IMAGES)[:-1]),
            f"{IDX_IMAGES} is damaged: it has 815 bytes",
        ),
        (arrays_file, "own.npz", arrays(y_train=LABELS[:-1]), "own.npz: y_train has 39 labels, allowed is 40"),
        (picture_folder, "own", replaced("train/ape/000.png", b""), "train/ape/000.png is not a picture"),
        (picture_folder, "own", shutil.rmtree, "data.dataset is ../own, but data/../own is not there"),
    ],
    ids=["IDX", "npz", "class folders", "missing path"],
)
def test_the_stage_refuses_in_one_line_and_keeps_what_was_there(workspace, stage, make, name, spoil, message):
    spoil(make(workspace / name))
    change_params({"data.dataset": f"../{name}", "data.validation_size": 10})
    before, files = DATA.read_bytes(), sorted(DATA.parent.iterdir())
    assert_one_line_error(stage("download"), message)
    assert DATA.read_bytes() == before
    assert sorted(DATA.parent.iterdir()) == files


@settings(max_examples=50)
@pytest.mark.parametrize(
    ("make", "name", "spoiled"),
    [
        (arrays_file, "own.npz", "."),
        (idx_folder, "idx", "train-images-idx3-ubyte"),
        (idx_folder, "idx", "classes.txt"),
        (picture_folder, "pictures", "train/ape/000.png"),
        (picture_folder, "pictures", "classes.txt"),
    ],
)
@given(st.data())
def test_any_damage_is_read_or_refused(tmp_path_factory, make, name, spoiled, data):
    path = make(tmp_path_factory.mktemp("damaged") / name)
    content = bytearray((path / spoiled).read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    (path / spoiled).write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    words = str(path)
    try:
        read_own_data(path, SHARE)
    except DataError as error:
        words = str(error)
    assert words.isprintable()
    assert str(path) in words
