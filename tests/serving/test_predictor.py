import json
import subprocess
import sys
import zlib
from pathlib import Path

import mlflow
import numpy as np
import onnx
import pytest
from PIL import Image, ImageOps

from lifline.errors import ModelError
from lifline.serving.picture import read_picture
from lifline.serving.predictor import Predictor
from lifline.tracking import runs as tracking
from lifline.tracking.registry import Facts, register
from tests.conftest import MNIST, assert_one_line_error
from tests.serving.quick_model import (
    COLOURED,
    FASHION,
    NUM_HIDDEN,
    NUM_STEPS,
    SMALL,
    silent_model,
    untrained_model,
    without_seal,
)
from tests.tracking.runs import tiny_onnx

WITHOUT = "import sys; sys.modules |= dict.fromkeys({modules!r}); from lifline.cli import main; main()"


@pytest.fixture(scope="module")
def predictor(model):
    return Predictor(str(model))


@pytest.fixture
def pictures(tmp_path, test_images, monkeypatch):
    """A folder with `0.png` and so on, dark on light; it is the working directory."""
    labels = test_images.labels.tolist()
    for digit in range(10):
        image = Image.fromarray(test_images.images[labels.index(digit), 0].numpy())
        ImageOps.invert(image.resize((140, 140))).save(tmp_path / f"{digit}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_test_images_are_told_apart(predictor, test_images):
    images = test_images.images[:300].numpy() / np.float32(255)
    decided = [predictor.predict(image).decided for image in images]
    assert (
        np.mean([name == str(label) for name, label in zip(decided, test_images.labels.tolist(), strict=False)]) > 0.9
    )


def test_a_prediction_holds_the_spikes_of_all_layers(model, predictor, test_images):
    image = test_images.images[0].numpy() / np.float32(255)
    prediction = predictor.predict(image)
    assert prediction.spikes.shape == (NUM_STEPS, 10)
    assert prediction.hidden_spikes.shape == (NUM_STEPS, sum(NUM_HIDDEN))
    assert prediction.classes == [str(digit) for digit in range(10)]
    counts = prediction.spikes.sum(0)
    assert prediction.decided == prediction.classes[counts.argmax()]
    assert prediction.confidence == counts.max() / counts.sum()
    first, second = predictor.session.run(["hidden_1", "hidden_2"], {"image": image[None]})
    np.testing.assert_array_equal(prediction.hidden_spikes, np.concatenate([first[:, 0], second[:, 0]], axis=1))


@pytest.mark.parametrize("coding", ["constant", pytest.param("rate", marks=pytest.mark.slow)])
def test_many_images_are_decided_on_as_each_alone(tmp_path_factory, params, model, test_images, coding):
    path = model if coding == "constant" else untrained_model(tmp_path_factory, params, MNIST, coding)
    predictor = Predictor(str(path))
    images = test_images.images[:250].numpy() / np.float32(255)
    for image, decision in zip(images, predictor.decide(images), strict=True):
        alone = predictor.predict(image)
        assert (decision.decided, decision.confidence) == (alone.decided, alone.confidence)
        np.testing.assert_array_equal(decision.counts, alone.spikes.sum(0))


@pytest.mark.parametrize(
    ("decoding", "told"),
    [("rate", "no output neuron fired, so it is not decided; "), ("rate_membrane", "0, confidence 0 %, 0 output and ")],
)
def test_where_no_output_neuron_fires_there_is_no_confidence(model, tmp_path, decoding, told):
    path = silent_model(model, tmp_path / "silent.onnx", decoding)
    predictor, image = Predictor(str(path)), np.ones((1, 28, 28), np.float32)
    prediction, (decision,) = predictor.predict(image), predictor.decide(image[None])
    assert prediction.spikes.sum() == prediction.confidence == 0
    assert prediction.describe() == f"{told}{prediction.hidden_spikes.sum()} hidden spikes"
    assert prediction.is_decided == decision.is_decided == (decoding != "rate")


def test_a_file_that_holds_no_network_of_ours_is_refused(model, tmp_path):
    path = tmp_path / "model.onnx"
    with pytest.raises(ModelError, match=r"model.onnx is missing; `dvc repro export` makes"):
        Predictor(str(path))
    with pytest.raises(ModelError, match=r"^there is no file 5; version 5 of the registry is models:/lifline/5$"):
        Predictor("5")
    for content in (b"", b"hello", model.read_bytes()[:1000]):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"model.onnx is damaged, or no ONNX model: .+"):
            Predictor(str(path))
    stages_own = path.rename(tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"model.safetensors is no ONNX file; `dvc repro export` makes"):
        Predictor(str(stages_own))
    nameless = onnx.load(model)
    del nameless.metadata_props[:]
    only_output = without_seal(onnx.load(model))
    del only_output.graph.output[3:]
    for other in (tiny_onnx(), nameless, only_output):
        onnx.save(other, path)
        with pytest.raises(ModelError, match=r"model.onnx is not a network of lifline's; `dvc repro export`"):
            Predictor(str(path))


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("dataset", "", r"its 'dataset' is not allowed: Invalid JSON: EOF while parsing"),
        ("dataset", "[" * 100_000, r"its 'dataset' is not allowed: Invalid JSON: recursion limit exceeded"),
        ("dataset", "3", r"its 'dataset' is not allowed: Input should be a valid dictionary"),
        ("coding", '"morse"', r"its 'coding' is not allowed: Input should be 'constant', 'latency' or 'rate'"),
        ("params", '{"network.decoding": "dice"}', r"its 'params.network.decoding' is not allowed: "),
        ("coding", '"rate"', r"its inputs are .*; allowed is spike_train, whose last axes are \[1, 28, 28\]"),
    ],
)
def test_what_the_file_says_of_the_network_is_checked(model, tmp_path, key, text, message):
    with pytest.raises(ModelError, match=rf"changed.onnx is not a network of lifline's: {message}"):
        Predictor(with_metadata(model, tmp_path, key, text))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("shape", [28, 28], r"its 'dataset.shape.2' is not allowed: Field required"),
        ("shape", [2, 28, 28], r"images of shape \[2, 28, 28\]; allowed are 1 or 3 channels"),
        ("shape", [1, 999, 1], r"images of shape \[1, 999, 1\]; .* up to 512 pixels a side"),
        ("shape", [1, 8, 8], r"its inputs are \{'image': .*; allowed is image, whose last axes are \[1, 8, 8\]"),
        ("preparation", "none", r"its 'dataset.preparation' is not allowed: Input should be 'handwriting', 'on_black'"),
        ("class_names", [], r"its 'dataset.class_names' is not allowed: "),
        ("class_names", [0, 1], r"its 'dataset.class_names.0' is not allowed: Input should be a valid string"),
        ("class_names", ["\033[2J"], r"a name in its dataset cannot be printed"),
        ("title", "\033[2J", r"a name in its dataset cannot be printed"),
        ("\033[2J", 1, r"its 'dataset.\\x1b\[2J' is not allowed: Extra inputs"),
    ],
)
def test_a_data_set_that_is_none_is_refused(model, tmp_path, key, value, message):
    with pytest.raises(ModelError, match=message) as caught:
        Predictor(with_metadata(model, tmp_path, "dataset", mnist_but(key, value)))
    assert str(caught.value).isprintable()


def mnist_but(key, value) -> str:
    return json.dumps(MNIST.model_dump(mode="json") | {key: value})


@pytest.mark.parametrize("names", [["0"], list("0123456789a")])
def test_class_names_that_are_not_as_many_as_the_output_neurons_are_refused(model, tmp_path, names):
    with pytest.raises(ModelError, match=rf"it has {len(names)} class_names, spikes of shape \[5, 1, 10\]"):
        Predictor(with_metadata(model, tmp_path, "dataset", mnist_but("class_names", names)))


def with_metadata(model, folder, key, text) -> str:
    changed = without_seal(onnx.load(model))
    (entry,) = (entry for entry in changed.metadata_props if entry.key == key)
    entry.value = text
    onnx.save(changed, folder / "changed.onnx")
    return str(folder / "changed.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("coding", ["constant", "latency", "rate"])
@pytest.mark.parametrize("dataset", [COLOURED, SMALL, FASHION], ids=lambda dataset: dataset.name)
def test_images_of_any_shape_are_seen_as_the_network_codes_them(tmp_path_factory, params, dataset, coding):
    predictor = Predictor(str(untrained_model(tmp_path_factory, params, dataset, coding)))
    assert predictor.dataset == dataset
    image = np.random.default_rng(0).random(dataset.shape, dtype=np.float32)
    prediction, repeated = predictor.predict(image), predictor.predict(image)
    assert prediction.classes == list(dataset.class_names)
    assert prediction.decided in dataset.class_names
    assert prediction.spikes.shape == (NUM_STEPS, len(dataset.class_names))
    _, height, width = dataset.shape
    num_hidden = 4 * ((height - 2) // 2) * ((width - 2) // 2) + 30  # of 4C3-MP2-30
    assert prediction.hidden_spikes.shape == (NUM_STEPS, num_hidden)
    for found, again in zip(prediction, repeated, strict=True):
        np.testing.assert_array_equal(found, again)


def test_by_rate_a_pixel_fires_as_often_as_it_is_bright(tmp_path_factory, params):
    predictor = Predictor(str(untrained_model(tmp_path_factory, params, FASHION, "rate")))
    shown = predictor._shown(np.full(FASHION.shape, 0.25, np.float32))
    assert shown.shape == (NUM_STEPS, 1, 1, 28, 28)
    assert set(np.unique(shown)) == {0, 1}
    assert shown.mean() == pytest.approx(0.25, abs=0.03)
    assert not predictor._shown(np.zeros(FASHION.shape, np.float32)).any()
    assert predictor._shown(np.ones(FASHION.shape, np.float32)).all()


def test_a_model_that_fails_is_refused(model, tmp_path):
    failing = without_seal(onnx.load(model))
    (image,) = failing.graph.input
    image.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    failing.graph.node.insert(0, onnx.helper.make_node("Cast", ["image"], ["image32"], to=onnx.TensorProto.FLOAT))
    for node in failing.graph.node[1:]:
        node.input[:] = ["image32" if name == "image" else name for name in node.input]
    onnx.save(failing, tmp_path / "failing.onnx")
    with pytest.raises(ModelError, match=r"failing.onnx fails: .*Unexpected input data type"):
        Predictor(str(tmp_path / "failing.onnx"))


@pytest.mark.parametrize("place", ["weights.bin", "{folder}/weights.bin", "../{name}/weights.bin"])
def test_a_model_that_names_another_file_as_its_data_is_refused(model, tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    outside = without_seal(onnx.load(model))
    (bias,) = (tensor for tensor in outside.graph.initializer if tensor.name.endswith("layers.2.projection.bias"))
    (tmp_path / "weights.bin").write_bytes(bias.raw_data)
    onnx.external_data_helper.set_external_data(bias, place.format(folder=tmp_path, name=tmp_path.name))
    bias.ClearField("raw_data")
    (tmp_path / "model.onnx").write_bytes(outside.SerializeToString())
    with pytest.raises(ModelError, match=r"model.onnx names another file as its data; allowed is one file"):
        Predictor("model.onnx")


def test_a_model_whose_weights_are_shorter_than_their_shape_is_refused(model, tmp_path):
    huge = without_seal(onnx.load(model))
    (bias,) = (tensor for tensor in huge.graph.initializer if tensor.name.endswith("layers.2.projection.bias"))
    for shape in ([2**36], [2**40, 2**40], [-1], [11]):
        bias.dims[:] = shape
        (tmp_path / "huge.onnx").write_bytes(huge.SerializeToString())
        with pytest.raises(ModelError, match=r"huge.onnx is damaged, or no ONNX model: "):
            Predictor(str(tmp_path / "huge.onnx"))


def test_a_flipped_bit_is_found(model, tmp_path):
    content = bytearray(model.read_bytes())
    path = tmp_path / "model.onnx"
    for place in [*range(0, len(content) - 76, 4999), *range(len(content) - 64, len(content))]:
        content[place] ^= 1 << place % 8
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"damaged: its SHA-256 is [0-9a-f]{64}, not the one at its end"):
            Predictor(str(path))
        content[place] ^= 1 << place % 8


def test_mlflow_keeps_the_seal(model, tmp_path):
    mlflow.onnx.save_model(onnx.load(model), tmp_path / "model", save_as_external_data=False, pip_requirements=["onnx"])
    assert (tmp_path / "model/model.onnx").read_bytes() == model.read_bytes()


def test_a_folder_in_place_of_a_model_is_named(lifline, pictures):
    for command in (["predict", "1.png"], ["serve", "--port", "0"]):
        code, _, stderr = lifline(*command, "--model", ".")
        assert_one_line_error((code, stderr), "error: .: Is a directory")


def test_the_default_model_is_the_repositorys_from_any_folder(lifline, model, pictures, monkeypatch):
    (pictures / "dvc.yaml").touch()
    (pictures / "models").mkdir()
    (pictures / "models/model.onnx").symlink_to(model)
    (pictures / "below/deep").mkdir(parents=True)
    monkeypatch.chdir("below/deep")
    assert lifline("predict", "../../7.png")[0] == 0
    (pictures / "models/model.onnx").unlink()
    for command in (["predict", "../../7.png"], ["serve", "--port", "0"]):
        code, _, stderr = lifline(*command)
        assert_one_line_error((code, stderr), "error: ../../models/model.onnx is missing; `dvc repro export`")
    code, _, stderr = lifline("predict", "../../7.png", "--model", "models/model.onnx")
    assert_one_line_error((code, stderr), "error: models/model.onnx is missing")


def test_the_command_tells_class_confidence_and_spikes(lifline, model, predictor, pictures):
    code, stdout, stderr = lifline("predict", "3.png", "7.png", "--model", str(model))
    assert (code, stderr) == (0, "")
    expected = [
        f"{name}: {predictor.predict(read_picture(pictures / name, MNIST)).describe()}" for name in ("3.png", "7.png")
    ]
    assert stdout.splitlines() == expected
    assert expected[1].startswith("7.png: 7, confidence ")


def test_a_picture_in_colour_gets_a_class_by_its_name(lifline, tmp_path_factory, params, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = untrained_model(tmp_path_factory, params, COLOURED)
    Image.radial_gradient("L").convert("RGB").save("gradient.png")
    code, stdout, stderr = lifline("predict", "gradient.png", "--show", "--model", str(model))
    assert (code, stderr) == (0, "")
    described, drawn = stdout.splitlines()
    prediction = Predictor(str(model)).predict(read_picture(Path("gradient.png"), COLOURED))
    assert described == f"gradient.png: {prediction.describe()}"
    assert Path(drawn).exists()


def test_a_bad_picture_among_good_ones_is_named_and_the_others_are_answered(lifline, model, pictures):
    (pictures / "text.png").write_text("hello")
    code, stdout, stderr = lifline("predict", "1.png", "text.png", "none.png", ".", "0.png", "--model", str(model))
    assert code == 2
    assert [line.partition(":")[0] for line in stdout.splitlines()] == ["1.png", "0.png"]
    assert stderr.splitlines() == [
        "error: text.png is not a picture; allowed are PNG, JPEG, WEBP, GIF, BMP, TIFF",
        "error: none.png: No such file or directory",
        "error: . holds many images; --output FILE.csv predicts all of them",
    ]


def test_without_a_model_no_picture_is_read(lifline, pictures):
    code, stdout, stderr = lifline("predict", "1.png")
    assert stdout == ""
    assert_one_line_error((code, stderr), "is not inside a lifline repository", "--model names a model")


@pytest.mark.slow
def test_a_registered_model_is_had_by_its_uri(lifline, model, pictures, store, params, monkeypatch):
    monkeypatch.chdir(pictures)
    code, _, stderr = lifline("predict", "7.png", "--model", "models:/lifline@champion")
    assert_one_line_error((code, stderr), "no model models:/lifline@champion")
    with tracking.run_of_model("0" * 64, params) as run:
        register(run, run.log_onnx(model.read_bytes()), Facts(0.9, 0, "", "", 10, 800.0, 4_000, 8_000.0), "# A card")
    lifline("champion")
    arguments = ["predict", "7.png", "--model", "models:/lifline@champion"]
    done = run_without("torch", "matplotlib", arguments=arguments, folder=pictures)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("7.png: 7, ")


def test_show_draws_the_spikes_beside_what_the_network_sees(lifline, model, pictures):
    code, stdout, _ = lifline("predict", "4.png", "--show", "--model", str(model))
    assert code == 0
    assert stdout.splitlines()[1:] == ["4.png.spikes.png"]
    with Image.open("4.png.spikes.png") as drawn:
        assert drawn.width > 1000
        assert len(drawn.convert("L").getcolors()) > 10


def run_without(*modules, arguments, folder) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT.format(modules=modules), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_neither_pytorch_nor_mlflow_nor_matplotlib_is_needed(model, pictures):
    arguments = ["predict", "7.png", "--model", str(model)]
    done = run_without("torch", "mlflow", "matplotlib", "onnx", arguments=arguments, folder=pictures)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("7.png: 7, ")
    drawn = run_without("torch", "mlflow", arguments=[*arguments, "--show"], folder=pictures)
    assert (drawn.returncode, drawn.stderr) == (0, "")
    assert (pictures / "7.png.spikes.png").exists()


def test_what_pillow_warns_of_is_not_printed(model, pictures):
    path = pictures / "huge.png"
    with Image.open("0.png") as picture:
        picture.save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = (12_300).to_bytes(4, "big") * 2  # width and height
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)
    done = run_without(arguments=["predict", "huge.png", "--model", str(model)], folder=pictures)
    assert_one_line_error((done.returncode, done.stderr), "huge.png has 12300 x 12300 pixels; allowed are 150,000,000")
