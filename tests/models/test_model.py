import pytest
import torch
from safetensors.torch import save_file

from lifline.data.tensor_file import pack
from lifline.errors import ModelError, ParamsError
from lifline.models.model import load_model, load_model_for, new_network, save_model
from tests.conftest import MNIST, changed, untrained


@pytest.fixture
def small(params):
    return changed(params, network={"layers": "6", "num_steps": 3, "decoding": "latency"}).network


@pytest.fixture
def saved(small, tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(untrained(small, seed=1), path)
    return path


def test_the_file_alone_rebuilds_the_network(small, saved):
    model = load_model(saved)
    images = torch.rand(5, 1, 28, 28)
    assert model.params == small
    assert model.dataset == MNIST
    assert model.network.input_shape == (1, 28, 28)
    assert torch.equal(model.network(images).membrane, untrained(small, seed=1).network(images).membrane)
    assert load_model_for(small, MNIST, saved).network.num_steps == 3


def test_a_network_for_other_images_and_classes_comes_back_as_it_was(small, tmp_path):
    dataset = MNIST.model_copy(update={"shape": (3, 17, 23), "class_names": ("cat", "dog", "mouse")})
    model = untrained(small)._replace(network=new_network(small, dataset, seed=1), dataset=dataset)
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.dataset == dataset
    images = torch.rand(5, 3, 17, 23)
    assert loaded.network(images).membrane.shape == (3, 5, 3)
    assert torch.equal(loaded.network(images).membrane, model.network(images).membrane)


def test_equal_models_are_equal_files(small, saved, tmp_path):
    save_model(untrained(small, seed=1), tmp_path / "again")
    save_model(untrained(small, seed=2), tmp_path / "other")
    assert (tmp_path / "again").read_bytes() == saved.read_bytes()
    assert (tmp_path / "other").read_bytes() != saved.read_bytes()


def test_a_folder_in_place_of_the_file_is_named(tmp_path):
    with pytest.raises(IsADirectoryError) as raised:
        load_model(tmp_path)
    assert raised.value.filename == str(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match="none is missing; `dvc repro train` makes it"):
        load_model(tmp_path / "none")


@pytest.mark.parametrize("length", [0, 4, 100, 400, -1])
def test_a_truncated_file_is_refused(saved, length):
    saved.write_bytes(saved.read_bytes()[:length])
    with pytest.raises(ModelError, match="is damaged"):
        load_model(saved)


def test_a_flipped_bit_is_refused_wherever_it_is(saved):
    content = saved.read_bytes()
    places = [
        *range(0, len(content), 997),
        *(content.index(word) for word in (b"beta", b"0.95", b"latency", b"sha256")),
    ]
    for place in places:
        flipped = bytearray(content)
        flipped[place] ^= 4
        saved.write_bytes(flipped)
        with pytest.raises(ModelError, match=r"is damaged|is not a model of this version"):
            load_model(saved)


def test_weights_of_another_shape_are_refused(small, saved):
    other = untrained(small.model_copy(update={"layers": "7"}))
    save_model(other._replace(params=small), saved)
    with pytest.raises(ModelError, match="is damaged"):
        load_model(saved)


def test_weights_of_another_type_are_refused(small, saved):
    model = untrained(small)
    model.network.double()
    save_model(model, saved)
    with pytest.raises(
        ModelError, match=r"is damaged: layers\.0\.projection\.\w+ is torch\.float64, allowed is torch\.float32"
    ):
        load_model(saved)


def test_a_header_that_asks_for_more_than_the_file_holds_takes_no_memory(small, saved):
    described = {
        "network": small.model_dump() | {"layers": "-".join(["65536"] * 16)},  # 275 GB
        "dataset": MNIST.model_dump(mode="json"),
    }
    saved.write_bytes(pack({"layers.0.projection.weight": torch.zeros(3)}, described))
    with pytest.raises(ModelError, match="is damaged"):
        load_model(saved)


@pytest.mark.parametrize("header", [{}, {"network": {}}, {"network": {"beta": 7}}, {"network": []}])
def test_a_header_of_someone_elses_is_refused(tmp_path, header):
    (tmp_path / "other").write_bytes(pack({"weight": torch.zeros(3)}, header))
    with pytest.raises(ModelError, match="is not a model of this version of lifline"):
        load_model(tmp_path / "other")


def test_someone_elses_safetensors_is_refused(tmp_path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "other")
    with pytest.raises(ModelError, match=r"is damaged: .*recorded is none"):
        load_model(tmp_path / "other")


def test_a_model_made_for_other_params_is_refused(small, saved):
    with pytest.raises(ModelError, match=r"trained with network\.beta 0\.95, but params\.yaml has 0\.5; `dvc repro"):
        load_model_for(small.model_copy(update={"beta": 0.5}), MNIST, saved)


def test_a_model_of_other_images_is_refused(small, saved):
    with pytest.raises(ModelError, match=r"was trained on MNIST, but the images are now those of Fashion, or others"):
        load_model_for(small, MNIST.model_copy(update={"title": "Fashion"}), saved)


def test_layers_that_do_not_fit_the_images_are_named(params):
    with pytest.raises(ParamsError) as raised:
        untrained(changed(params, network={"layers": "12C5-MP2-64C5-MP2-9C9"}).network)
    assert str(raised.value).startswith(
        "network.layers is '12C5-MP2-64C5-MP2-9C9', which the image is too small for: 1 x 28 x 28, then 12C5 12 x 24"
    )


def test_a_network_of_any_layers_comes_back_from_its_file_with_what_it_learned(params, tmp_path):
    values = {"layers": "3C5-MP2-4C3p1-AP2-9", "num_steps": 3, "learn_beta": True, "threshold": [1.0, 0.5, 0.5, 1.0]}
    model = untrained(changed(params, network=values).network)
    with torch.no_grad():
        model.network.layers[1].beta_logit.fill_(0.5)
    save_model(model, tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    images = torch.rand(5, 1, 28, 28)
    with torch.no_grad():
        assert torch.equal(loaded.network(images).membrane, model.network(images).membrane)
    assert loaded.network.layers[1].decay() == pytest.approx(torch.tensor(0.5).sigmoid().item())
    save_model(loaded, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()
    assert [layer.neuron.threshold for layer in loaded.network.layers] == [1.0, 0.5, 0.5, 1.0]
