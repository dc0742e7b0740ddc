import io

import nir
import numpy as np
import pytest
import snntorch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from snntorch.export_nir import export_to_nir

from lifline.errors import ModelError
from lifline.export.nir import nir_bytes, nir_metadata, to_nir
from lifline.imports import hdf5
from lifline.imports.nir import read_nir
from tests.conftest import MNIST, changed, untrained


@pytest.fixture
def here(monkeypatch):
    """Let HDF5 read in this process, which is faster, where nothing is wrong with a file but the graph in it."""
    monkeypatch.setattr("lifline.imports.nir.read_tree", hdf5._tree)


def small(params, **network):
    return changed(params, network={"layers": "6", "num_steps": 4, "threshold": 0.3} | network).network


@pytest.fixture(scope="module")
def model(params):
    return untrained(small(params, layers="4C5p1-AP2-3C3-20", beta=[0.9, 0.8, 0.0, 0.95], decoding="membrane"), seed=4)


def graph_of(model):
    return to_nir(model.network, nir_metadata(model.params, model.dataset))


def again(model, **changes):
    """Read what is written of a model, with some nodes or edges changed."""
    graph = graph_of(model)
    nodes = graph.nodes | changes.pop("nodes", {})
    changed_graph = nir.NIRGraph(nodes, changes.pop("edges", graph.edges), graph.metadata, type_check=False)
    return read_nir(nir_bytes(changed_graph), "file.nir", model.params, None, **changes)


def test_a_network_comes_back_bit_by_bit_from_the_file_alone(params, model):
    read = read_nir(nir_bytes(graph_of(model)), "file.nir", params.network, None)
    assert read.params == model.params
    assert read.dataset == MNIST
    for (name, tensor), expected in zip(
        read.network.state_dict().items(), model.network.state_dict().values(), strict=True
    ):
        assert torch.equal(tensor, expected), name
    images = torch.rand(50, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for found, expected in zip(read.network(images)[:2], model.network(images)[:2], strict=True):
            assert torch.equal(found, expected)


@given(st.lists(st.tuples(st.just(0.0) | st.floats(0.001, 0.9999), st.floats(0.001, 1000)), min_size=16, max_size=16))
@settings(max_examples=3, derandomize=True)
def test_any_decay_and_threshold_come_back_as_the_float32_that_neurons_compute_with(params, neurons):
    betas, thresholds = ([float(f"{value:.6g}") for value in values] for values in zip(*neurons, strict=True))
    model = untrained(small(params, layers="-".join(["2"] * 15), beta=betas, threshold=thresholds))
    read = again(model)
    assert read.params.betas == betas
    assert np.float32(read.params.thresholds).tolist() == np.float32(thresholds).tolist()


@pytest.mark.usefixtures("here")
def test_a_learned_decay_comes_back_as_the_same_float32(params):
    model = untrained(small(params, learn_beta=True, beta=0.3))
    with torch.no_grad():
        model.network.layers[0].beta_logit.fill_(1.2345)
    read = again(model)
    assert not read.params.learn_beta
    assert np.float32(read.params.betas[0]) == np.float32(model.network.layers[0].decay())


def snntorchs(ignore_dims=(0,)):
    def leaky(count, **options):
        return snntorch.Leaky(torch.full((count,), 0.9), torch.full((count,), 0.7), init_hidden=True, **options)

    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(784, 6), leaky(6), torch.nn.Linear(6, 10), leaky(10, output=True)
    )
    graph = export_to_nir(network, torch.zeros(1, 1, 28, 28), ignore_dims=list(ignore_dims))
    return network, nir_bytes(graph)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.usefixtures("here")
def test_a_file_of_snntorchs_is_its_network_once_the_reset_is_said(params):
    network, content = snntorchs()
    read = read_nir(content, "file.nir", small(params), MNIST, resets_by_subtraction=True)
    assert (read.params.layers, read.params.beta, read.params.threshold) == ("6", 0.9, 0.7)
    images = torch.rand(100, 1, 28, 28, generator=torch.Generator().manual_seed(1)) * 3
    with torch.no_grad():
        found = read.network(images).spikes
        expected = torch.stack([network(images)[0] for _ in range(4)])
    assert expected.any()
    assert torch.equal(found, expected)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.usefixtures("here")
def test_a_file_that_does_not_say_how_it_resets_is_refused(params):
    with pytest.raises(ModelError, match=r"does not say how its neurons reset; .* --reset subtract"):
        read_nir(snntorchs()[1], "file.nir", small(params), MNIST)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.usefixtures("here")
def test_a_file_of_norses_is_refused(params):
    import norse.torch
    from norse.torch.functional.lif_box import LIFBoxParameters

    values = LIFBoxParameters(*(torch.full((10,), value) for value in (100.0, 0.0, 1.0, 0.0)))
    network = norse.torch.SequentialState(torch.nn.Linear(784, 10), norse.torch.LIFBoxCell(values))
    content = nir_bytes(norse.torch.to_nir(network, torch.zeros(1, 784)))
    with pytest.raises(ModelError, match=r"neurons of '1' have tau 1e-05 and r 1; allowed are tau from the step"):
        read_nir(content, "file.nir", small(params), MNIST, resets_by_subtraction=True)


def lif(shape, **changes):
    values = {"tau": 1e-3, "r": 1.0, "v_leak": 0.0, "v_threshold": 0.03, "v_reset": 0.0} | changes
    return nir.LIF(**{name: np.broadcast_to(value, shape).astype(float) for name, value in values.items()})


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ({"lif_1": nir.Threshold(np.ones(6))}, "node 'lif_1' is 'Threshold'; allowed are Affine, "),
        ({"lif_1": nir.Affine(np.eye(6), np.ones(6))}, "node 'lif_1' is Affine where LIF is allowed"),
        ({"lif_1": lif(6, tau=[1e-3] * 5 + [2e-3])}, "tau differs between neurons of 'lif_1'"),
        ({"lif_1": lif(6, v_leak=0.1)}, "neurons of 'lif_1' have v_leak or v_reset other than 0"),
        ({"lif_1": lif(6, v_reset=0.1)}, "neurons of 'lif_1' have v_leak or v_reset other than 0"),
        ({"lif_1": lif(6, r=-1.0)}, "neurons of 'lif_1' have tau 0.001 and r -1"),
        ({"lif_1": lif(6, v_threshold=0.0)}, r"file.nir: threshold is "),
        ({"affine_1": nir.Affine(np.ones((6, 783)), np.ones(6))}, r"the weight of 'affine_1' is \[6, 783\]; allowed"),
        ({"affine_1": nir.Affine(np.ones((6, 784)), np.ones(5))}, r"the bias of 'affine_1' is \[5\]; allowed is \[6\]"),
        ({"affine_1": nir.Affine(np.full((6, 784), 1e300), np.ones(6))}, "'affine_1' holds what is not a finite"),
        (
            {"affine_2": nir.Affine(np.ones((9, 6)), np.ones(9))},
            r"the weight of 'affine_2' is \[9, 6\]|9 output neurons",
        ),
        ({"aside": nir.Scale(np.ones(6))}, "node 'aside' is 'Scale'"),
        ({"aside": nir.Affine(np.eye(6), np.ones(6))}, "is no chain"),
    ],
)
@pytest.mark.usefixtures("here")
def test_what_lifline_cannot_run_as_it_is_meant_is_refused(params, nodes, message):
    with pytest.raises(ModelError, match=message) as raised:
        again(untrained(small(params)), nodes=nodes)
    assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("here")
def test_a_graph_with_feedback_or_a_fork_is_refused(params):
    model = untrained(small(params))
    edges = graph_of(model).edges
    for more in [("lif_1", "affine_1")], [("input", "lif_2")]:
        with pytest.raises(ModelError, match="is no chain"):
            again(model, edges=[*edges, *more])
    with pytest.raises(ModelError, match="is no chain"):
        again(model, edges=[*edges[:-1], ("lif_1", "lif_1")])


@pytest.mark.parametrize(("field", "value"), [("stride", (2, 2)), ("dilation", (2, 2)), ("groups", 2)])
@pytest.mark.usefixtures("here")
def test_other_convolutions_are_refused(model, field, value):
    conv = graph_of(model).nodes["conv_1"]
    setattr(conv, field, value)
    with pytest.raises(ModelError, match=f"{field} of 'conv_1', Conv2d, is not 1"):
        again(model, nodes={"conv_1": conv})


@pytest.mark.usefixtures("here")
def test_metadata_that_lies_is_refused(model):
    graph = graph_of(model)
    graph.metadata["network"] = '{"layers": "7"}'
    with pytest.raises(ModelError, match="metadata's network is not of this version of lifline"):
        read_nir(nir_bytes(graph), "file.nir", model.params, None)


@pytest.mark.usefixtures("here")
def test_a_file_of_another_kind_is_refused(model):
    content = io.BytesIO()
    nir.write(content, nir.Affine(np.ones((2, 2)), np.ones(2)))
    with pytest.raises(ModelError, match=r"file\.nir holds no NIR graph"):
        read_nir(content.getvalue(), "file.nir", model.params, None)
