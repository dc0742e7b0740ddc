"""Writes small data sets as users have them."""

import gzip
import struct

import numpy as np
from PIL import Image


def encode_idx(array) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_idx(folder, images, labels, part="train", packed=False):
    """Two files of IDX, each packed or plain."""
    folder.mkdir(exist_ok=True)
    for name, array in ((f"{part}-images-idx{images.ndim}-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(encode_idx(array)))
        else:
            (folder / name).write_bytes(encode_idx(array))
    return folder


def write_pictures(folder, images, labels, class_names, kind="png", part="train"):
    """A picture in its class's folder for each image, `[H, W]` or `[H, W, 3]`."""
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / part / class_names[label] / f"{number:03}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return folder


def random_images(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def as_sets(data):
    """Each image's bytes with its label, whatever the order."""
    return sorted((image.numpy().tobytes(), int(label)) for image, label in zip(data.images, data.labels, strict=True))


def pairs(images, labels):
    """The same of arrays `[B, H, W]` or `[B, H, W, C]`."""
    arranged = images[:, None] if images.ndim == 3 else np.moveaxis(images, 3, 1)
    return sorted((image.tobytes(), int(label)) for image, label in zip(arranged, labels, strict=True))


IMAGES = random_images(40, 5, 4)
LABELS = np.repeat([0, 1], 20)
CLASS_NAMES = ("ape", "bee")
SHARE = 0.2


def idx_folder(path):
    write_idx(path, IMAGES, LABELS)
    write_idx(path, IMAGES[15:25], LABELS[15:25], "t10k")
    (path / "classes.txt").write_text("ape\nbee\n")
    return path


def arrays_file(path):
    np.savez(path, x_train=IMAGES, y_train=LABELS)
    return path


def picture_folder(path):
    write_pictures(path, IMAGES, LABELS, CLASS_NAMES)
    write_pictures(path, IMAGES[15:25], LABELS[15:25], CLASS_NAMES, part="test")
    (path / "classes.txt").write_text("ape\nbee\n")
    return path
