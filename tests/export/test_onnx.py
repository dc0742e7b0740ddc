import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from lifline.errors import ModelError
from lifline.export.onnx import compare_with_network, require_equality, to_onnx
from lifline.snn import decode
from lifline.snn.decoding import DECODINGS
from tests.conftest import ROOT, changed, first, untrained


def small(params, **network):
    return changed(params, network={"hidden": [40], "num_steps": 6, "threshold": 0.3} | network).network


@pytest.fixture(scope="module")
def session_of():
    return lambda model: onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def exported(params):
    return to_onnx(untrained(small(params), seed=4).network, "rate", {})


def with_output_bias(model, bias):
    changed_model = onnx.ModelProto()
    changed_model.CopyFrom(model)
    tensor = next(tensor for tensor in changed_model.graph.initializer if tensor.name.endswith("layers.1.bias"))
    tensor.CopyFrom(onnx.numpy_helper.from_array(bias.detach().numpy(), tensor.name))
    return changed_model


@pytest.mark.parametrize(
    ("decoding", "network"),
    [*((how, {}) for how in DECODINGS), ("rate", {"spike_delay": 1}), ("rate", {"hidden": [40, 30]})],
)
def test_onnx_runtime_computes_what_the_network_does(params, test_images, session_of, decoding, network):
    network = untrained(small(params, **network), seed=4).network
    session = session_of(to_onnx(network, decoding, {}))
    for count in (1, 7):
        images = test_images.images[:count].float() / 255
        spikes, membrane, decided, *hidden = session.run(None, {"image": images.numpy()})
        with torch.no_grad():
            record = network(images)
        for layer, counts in zip(hidden, record.hidden_counts, strict=True):
            assert layer.shape == (6, count, counts.shape[1])
            np.testing.assert_array_equal(layer.sum(0), counts.numpy())
        assert spikes.shape == membrane.shape == (6, count, 10)
        np.testing.assert_array_equal(spikes, record.spikes.numpy())
        np.testing.assert_allclose(membrane, record.membrane.numpy(), atol=1e-5)
        np.testing.assert_array_equal(decided, decode(record, decoding).numpy())
        assert decided.dtype == np.int64


def test_the_file_tells_what_it_is_and_nothing_of_the_machine(params):
    network = untrained(small(params), seed=4).network
    metadata = {"params": {"network.beta": 0.95}, "class_names": ["0", "1"], "test_accuracy": 0.9}
    model = to_onnx(network, "rate", metadata)
    assert {entry.key: json.loads(entry.value) for entry in model.metadata_props} == metadata
    content = model.SerializeToString()
    for trace in (str(ROOT).encode(), b"/site-packages/", b"lif.py", b"stack_trace"):
        assert trace not in content
    assert to_onnx(network, "rate", metadata).SerializeToString() == content


def test_a_model_that_differs_is_found_out(params, test_images, exported):
    network = untrained(small(params), seed=4).network
    data = first(test_images, 1200)
    same = compare_with_network(exported, network, "rate", data)
    assert (same.images, same.class_mismatches, same.spike_mismatches) == (1200, 0, 0)
    assert same.spikes_compared == 6 * 1200 * (10 + 40)
    assert same.largest_membrane_difference < 1e-4
    require_equality(same, 0)

    different = compare_with_network(with_output_bias(exported, network.layers[1].bias.flip(0)), network, "rate", data)
    assert different.class_mismatches > 0
    assert different.spike_mismatches > 0
    assert different.largest_membrane_difference > 1e-3
    with pytest.raises(ModelError, match=f"differ in class on {different.class_mismatches} of 1,200 images, .*allowed"):
        require_equality(different, different.class_mismatches - 1)
    require_equality(different, different.class_mismatches)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_membrane_that_is_not_finite_on_one_side_differs_without_bound(params, test_images, exported, value):
    network, broken = untrained(small(params), seed=4).network, untrained(small(params), seed=4).network
    with torch.no_grad():
        broken.layers[1].bias[3] = value
    broken_model = with_output_bias(exported, broken.layers[1].bias)
    data = first(test_images, 600)
    for model, compared in ((exported, broken), (broken_model, network)):
        assert compare_with_network(model, compared, "rate", data).largest_membrane_difference == np.inf
    assert compare_with_network(broken_model, broken, "rate", data).largest_membrane_difference < 1e-4
