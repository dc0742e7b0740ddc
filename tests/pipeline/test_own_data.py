"""A user's own images, from files to a served prediction, by params alone."""

import csv
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image
from sklearn.datasets import load_digits

from lifline.data.datasets import load_dataset
from lifline.layers import describe_network
from lifline.models.model import load_model
from lifline.paths import DATA, MODEL, MODEL_CARD, ONNX_MODEL, PREDICTIONS
from lifline.presets import change_params
from lifline.serving.predictor import Predictor
from tests.download.own_data import write_pictures
from tests.serving.test_server import answering

QUICK = {
    "data.validation_size": 10,
    "network.layers": "40",
    "train.epochs": 6,
    "train.batch_size": 10,
    "train.learning_rate": 0.003,
}


def write_digits(folder: Path) -> str:
    digits = load_digits()
    images, labels = (digits.images / 16).astype(np.float32), digits.target
    np.savez(
        folder / "digits.npz", x_train=images[:1400], y_train=labels[:1400], x_test=images[1400:], y_test=labels[1400:]
    )
    return "digits.npz"


def lit(label: int, num_classes: int, *shape: int, seed: int) -> np.ndarray:
    """A picture that is bright in its class's columns, and noise elsewhere."""
    image = np.random.default_rng(seed).integers(0, 90, shape, dtype=np.uint8)
    width = shape[1] // num_classes
    image[:, label * width : (label + 1) * width] += 150
    return image


def write_fifty_pngs(folder: Path) -> str:
    labels = np.arange(50) % 2
    images = [lit(label, 2, 12, 10, seed=number) for number, label in enumerate(labels)]
    write_pictures(folder / "shapes", images, labels, ("left", "right"))
    return "shapes"


def write_colour_pictures(folder: Path) -> str:
    labels = np.arange(60) % 3
    images = [lit(label, 3, 17, 23, 3, seed=number) for number, label in enumerate(labels)]
    write_pictures(folder / "colours", images, labels, ("ape", "bee", "cow"))
    write_pictures(folder / "colours", images[:15], labels[:15], ("ape", "bee", "cow"), part="test")
    return "colours"


LEARNING_BETA = {"data.validation_size": 200, "train.batch_size": 50, "network.learn_beta": True}
DIGITS = (write_digits, (1, 8, 8), tuple("0123456789"), LEARNING_BETA)
FIFTY_PNGS = (write_fifty_pngs, (1, 12, 10), ("left", "right"), {})
COLOURS = (write_colour_pictures, (3, 17, 23), ("ape", "bee", "cow"), {"network.layers": "5C3p1-MP2-40"})


@pytest.mark.parametrize(
    ("write", "shape", "class_names", "values", "coding"),
    [
        (*DIGITS, "constant"),
        pytest.param(*FIFTY_PNGS, "constant", marks=pytest.mark.slow),
        pytest.param(*COLOURS, "constant", marks=pytest.mark.slow),
        pytest.param(*FIFTY_PNGS, "latency", marks=pytest.mark.slow),
        pytest.param(*COLOURS, "rate", marks=pytest.mark.slow),
    ],
)
def test_from_nothing_to_a_served_prediction(store, workspace, stage, write, shape, class_names, values, coding):
    DATA.unlink()
    dataset = write(workspace / "data")
    if coding == "latency":
        dataset = str(workspace / "data" / dataset)
    change_params({**QUICK, "data.dataset": dataset, "network.coding": coding, "augmentation.shift": 0.5, **values})
    for name in ("download", "train", "evaluate", "export"):
        assert stage(name) == (0, ""), name

    data, model = load_dataset(DATA), load_model(MODEL)
    assert (data.info.shape, data.info.class_names) == (shape, class_names)
    assert model.dataset == data.info
    (run,) = store.search_runs([store.get_experiment_by_name("lifline").experiment_id])
    assert run.data.metrics["test/accuracy"] > 0.6
    assert run.data.tags["data_source"] == dataset
    learned = {name for name in run.data.metrics if name.startswith("beta/")}
    assert learned == ({"beta/hidden_1", "beta/output"} if model.params.learn_beta else set())
    if learned:
        assert [layer.decay() for layer in model.network.layers] == [
            pytest.approx(run.data.metrics[name]) for name in ("beta/hidden_1", "beta/output")
        ]
    stem = Path(dataset).stem
    assert {entry.dataset.name for entry in run.inputs.dataset_inputs} == {f"{stem}-train", f"{stem}-test"}
    card = MODEL_CARD.read_text()
    network = describe_network(model.params.layers, shape, len(class_names))
    assert card.startswith(f"# A spiking network for {stem}: {network}, 4 steps\n")
    assert ("`spike_train`" in card) == (coding == "rate")

    assert str(workspace).encode() not in MODEL_CARD.read_bytes() + ONNX_MODEL.read_bytes() + MODEL.read_bytes()

    predictor = Predictor(str(ONNX_MODEL))
    shown = [data.test.images[i] for i in range(10)]
    with answering(predictor) as url:
        served = [
            requests.post(f"{url}/predict", png_of(image), headers={"Content-Type": "image/png"}, timeout=20).json()
            for image in shown
        ]
    decided = [row["predicted"] for row in csv.DictReader(PREDICTIONS.read_text().splitlines())][:10]
    equal = [answer["class"] == name for answer, name in zip(served, decided, strict=True)]
    assert sum(equal) >= (6 if coding == "rate" else 10)  # other spikes are drawn of the same images


def png_of(image) -> bytes:
    """A picture of the very pixels of an image `[C, H, W]`."""
    pixels, content = image.permute(1, 2, 0).squeeze(2).numpy(), BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()
