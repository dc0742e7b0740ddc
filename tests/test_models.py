import pytest
import torch
from safetensors.torch import save_file

from lifline.errors import ModelError
from lifline.models import load_network, load_network_for, new_network, save_network
from tests.conftest import changed


@pytest.fixture
def small(params):
    return changed(params, network={"hidden": [6], "num_steps": 3, "decoding": "latency"}).network


@pytest.fixture
def saved(small, tmp_path):
    path = tmp_path / "model.safetensors"
    save_network(new_network(small, seed=1), small, path)
    return path


def test_the_file_alone_rebuilds_the_network(small, saved):
    network, params = load_network(saved)
    images = torch.rand(5, 784)
    assert params == small
    assert torch.equal(network(images).membrane, new_network(small, seed=1)(images).membrane)
    assert load_network_for(small, saved).num_steps == 3


def test_equal_networks_are_equal_files(small, saved, tmp_path):
    save_network(new_network(small, seed=1), small, tmp_path / "again")
    save_network(new_network(small, seed=2), small, tmp_path / "other")
    assert (tmp_path / "again").read_bytes() == saved.read_bytes()
    assert (tmp_path / "other").read_bytes() != saved.read_bytes()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match="none is missing; `dvc repro train` makes it"):
        load_network(tmp_path / "none")


@pytest.mark.parametrize("length", [0, 4, 100, 400, -1])
def test_a_truncated_file_is_refused(saved, length):
    saved.write_bytes(saved.read_bytes()[:length])
    with pytest.raises(ModelError, match="is damaged"):
        load_network(saved)


def test_weights_of_another_shape_are_refused(small, saved):
    network = new_network(small.model_copy(update={"hidden": [7]}), seed=0)
    save_network(network, small, saved)
    with pytest.raises(ModelError, match="is damaged"):
        load_network(saved)


@pytest.mark.parametrize("header", [None, {"network": "{}"}, {"network": '{"beta": 7}'}, {"network": "["}])
def test_someone_elses_safetensors_is_refused(tmp_path, header):
    save_file({"weight": torch.zeros(3)}, tmp_path / "other", metadata=header)
    with pytest.raises(ModelError, match="is not a network of lifline's"):
        load_network(tmp_path / "other")


def test_a_network_made_for_other_params_is_refused(small, saved):
    with pytest.raises(ModelError, match=r"trained with network\.beta 0\.95, but params\.yaml has 0\.5; `dvc repro"):
        load_network_for(small.model_copy(update={"beta": 0.5}), saved)
