import io
import zipfile

import pytest
import snntorch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from lifline.errors import ModelError
from lifline.imports.state_dict import read_state_dict
from tests.conftest import MNIST, changed


class Other(torch.nn.Module):
    """A network as users of snnTorch write it."""

    def __init__(self, **options):
        super().__init__()
        torch.manual_seed(1)
        self.conv1, self.lif1 = torch.nn.Conv2d(1, 2, 5), snntorch.Leaky(0.9, 0.2)
        self.fc1, self.lif2 = torch.nn.Linear(288, 10), snntorch.Leaky(0.8, 0.1, **options)

    def forward(self, images, num_steps):
        first, second, spikes = self.lif1.reset_mem(), self.lif2.reset_mem(), []
        for _ in range(num_steps):
            fired, first = self.lif1(torch.nn.functional.max_pool2d(self.conv1(images), 2), first)
            fired, second = self.lif2(self.fc1(fired.flatten(1)), second)
            spikes.append(fired)
        return torch.stack(spikes)


def pickled(state):
    content = io.BytesIO()
    torch.save(state, content)
    return content.getvalue()


@pytest.fixture(scope="module")
def network(params):
    return changed(params, network={"layers": "2C5-MP2", "num_steps": 5}).network


@pytest.mark.parametrize(("name", "pack"), [("net.pt", pickled), ("net.safetensors", save)])
def test_the_model_fires_as_snntorchs_own_network(network, name, pack):
    other = Other()
    model = read_state_dict(pack(other.state_dict()), name, network, MNIST)
    assert (model.params.beta, model.params.threshold) == ([0.9, 0.8], [0.2, 0.1])
    images = torch.rand(40, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = other(images, 5)
        assert expected.any()
        assert torch.equal(model.network(images).spikes, expected)


def without(state, *names):
    return {name: tensor for name, tensor in state.items() if name not in names}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state | {"norm.running_mean": torch.zeros(2)}, "'norm' holds 'running_mean'; allowed are"),
        (lambda state: state | {"lif2.alpha": torch.tensor(0.5)}, "'lif2' holds 'alpha, beta"),
        (lambda state: state | {"lif2.beta": torch.linspace(0, 1, 10)}, "beta differs between neurons behind 'fc1'"),
        (lambda state: state | {"lif2.beta": torch.tensor(float("nan"))}, "beta differs between neurons behind 'fc1'"),
        (lambda state: state | {"lif2.graded_spikes_factor": torch.tensor(2.0)}, "spikes behind 'fc1' are 2"),
        (lambda state: state | {"fc1.weight": torch.zeros(10, 7)}, r"the weight of 'fc1' is \[10, 7\]; allowed"),
        (lambda state: state | {"fc1.weight": torch.zeros(1).expand(10, 288)}, "'fc1.weight' is .* more than the file"),
        (lambda state: state | {"fc1.bias": torch.full((10,), torch.inf)}, "'fc1' holds what is not a finite number"),
        (lambda state: without(state, "fc1.weight", "fc1.bias"), "has 1 projections and 2 layers of neurons; allowed"),
        (lambda state: state | {"fc1.weight": state["fc1.weight"].to(torch.float8_e4m3fn)}, "is torch.float8_e4m3fn; "),
        (lambda state: state | {"lif2.threshold": torch.tensor(2**53 + 1)}, "threshold is .*9007199254740992.0"),
        (lambda _: {}, "holds no state dict"),
        (lambda _: {"a": 1}, "'a' is no tensor"),
    ],
)
def test_what_is_no_such_network_is_refused(network, change, message):
    with pytest.raises(ModelError, match=message) as raised:
        read_state_dict(pickled(change(Other().state_dict())), "net.pt", network, MNIST)
    assert "\n" not in str(raised.value)


def test_a_threshold_that_is_a_whole_number_is_read(network):
    state = Other().state_dict() | {"lif2.threshold": torch.tensor(127, dtype=torch.int8)}
    assert read_state_dict(pickled(state), "net.pt", network, MNIST).params.threshold[-1] == 127


def test_neurons_that_reset_to_zero_are_refused(network):
    with pytest.raises(ModelError, match="neurons behind 'fc1' are not reset by subtraction"):
        read_state_dict(pickled(Other(reset_mechanism="zero").state_dict()), "net.pt", network, MNIST)


class Malicious:
    def __reduce__(self):
        return (print, ("code was run",))


def test_no_code_is_run(network, capsys):
    with pytest.raises(ModelError, match="holds more than tensors"):
        read_state_dict(pickled({"a": Malicious()}), "net.pt", network, MNIST)
    assert not capsys.readouterr().out


def test_what_unpacks_to_more_than_any_network_is_refused(network, monkeypatch):
    monkeypatch.setattr("lifline.imports.state_dict.MAX_FILE", 2**20)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("archive/data.pkl", bytes(2**21))
    with pytest.raises(ModelError, match="unpacks to more than 1,048,576 bytes"):
        read_state_dict(content.getvalue(), "net.pt", network, MNIST)


def test_safetensors_whose_order_cannot_be_known_is_refused(params):
    network = changed(params, network={"layers": "10-10"}).network
    names = {"zero": 784, "into": 10, "out": 10}
    state = {}
    for name, inputs in names.items():
        state |= {f"{name}.weight": torch.ones(10, inputs), f"{name}.bias": torch.ones(10)}
        state |= {f"lif_{name}.{key}": tensor for key, tensor in snntorch.Leaky(0.9).state_dict().items()}
    with pytest.raises(ModelError, match="has no number by which layers are in order"):
        read_state_dict(save(state), "net.safetensors", network, MNIST)
    assert read_state_dict(pickled(state), "net.pt", network, MNIST).params.layers == "10-10"


@given(st.data(), st.sampled_from([("net.pt", pickled), ("net.safetensors", save)]))
@settings(max_examples=100, derandomize=True)
def test_files_that_were_damaged_are_read_or_refused_in_one_line(network, data, kind):
    name, pack = kind
    content = bytearray(pack(Other().state_dict()))
    del content[data.draw(st.integers(0, len(content))) :]
    for place in data.draw(st.lists(st.integers(0, max(0, len(content) - 1)), max_size=4)):
        if content:
            content[place] ^= data.draw(st.integers(1, 255))
    try:
        message = read_state_dict(bytes(content), name, network, MNIST).params.layers
    except ModelError as refused:
        message = str(refused)
    assert message
    assert "\n" not in message
