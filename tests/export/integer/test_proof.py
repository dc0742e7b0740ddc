from dataclasses import replace

import numpy as np
import pytest
import torch

from lifline.data.batches import as_input
from lifline.export.integer.proof import IntegerProof, prove
from lifline.export.integer.quantize import quantize
from lifline.export.integer.reference import run
from lifline.snn import decode
from lifline.training.fit import fit, new_training
from tests.conftest import MNIST, changed, first

NUM_STEPS, NUM_HIDDEN = 5, 60


@pytest.fixture(scope="module")
def trained(params, training_images):
    small = changed(
        params,
        network={"layers": str(NUM_HIDDEN), "num_steps": NUM_STEPS, "beta": 0.8},
        train={"epochs": 2, "loss": "rate_mse", "learning_rate": 5e-3, "batch_size": 64},
    )
    state = new_training(small, MNIST, torch.device("cpu"))
    list(fit(state, first(training_images, 3_000), first(training_images, 100), small))
    return state.network.eval()


def test_a_trained_network_loses_next_to_nothing(trained, test_images):
    integer = quantize(trained, "rate")
    proof = prove(integer, trained, "rate", first(test_images, 2_000))
    assert proof.images == 2_000
    assert proof.float_accuracy > 0.7
    assert abs(proof.integer_accuracy - proof.float_accuracy) < 0.01
    assert proof.class_mismatches < 40
    assert proof.spikes_compared == 2_000 * NUM_STEPS * (NUM_HIDDEN + 10)
    assert 0 < proof.spike_mismatches < proof.spikes_compared / 100
    assert proof.num_bytes == integer.num_bytes < 784 * NUM_HIDDEN + 2_000


def test_accuracies_and_mismatches_are_counted_over_all_images(trained, test_images):
    data = first(test_images, 1_200)
    integer = quantize(trained, "membrane")
    proof = prove(integer, trained, "membrane", data)
    with torch.no_grad():
        record = trained(as_input(data.images))
    expected, found = decode(record, "membrane").numpy(), run(integer, data.images.numpy())
    labels = data.labels.numpy()
    assert proof.float_accuracy == (expected == labels).mean()
    assert proof.integer_accuracy == (found.classes == labels).mean()
    assert proof.class_mismatches == (expected != found.classes).sum()
    output_mismatches = (found.layers[-1].spikes != record.spikes.numpy()).sum()
    assert output_mismatches <= proof.spike_mismatches


def test_an_integer_network_that_is_another_is_found_out(trained, test_images):
    integer = quantize(trained, "rate")
    hidden, output = integer.layers
    broken = replace(integer, layers=(hidden, replace(output, bias=np.roll(output.bias, 1), weights=-output.weights)))
    data = first(test_images, 600)
    right, wrong = (prove(each, trained, "rate", data) for each in (integer, broken))
    assert wrong.class_mismatches > 300 > right.class_mismatches
    assert wrong.spike_mismatches > right.spike_mismatches
    assert wrong.integer_accuracy < right.integer_accuracy


def test_a_proof_is_told_in_a_line():
    proof = IntegerProof(10_000, 0.9928, 0.9929, 9, 356_486, 101_000_000, 802_080)
    assert proof.describe() == (
        "the integer network of 0.802 MB is right on 99.29 % of 10,000 images, the network on 99.28 %; they differ in "
        "class on 9, and in 356,486 of 101,000,000 spikes"
    )
    assert proof.verdict() == "99.29 % of 10,000 test images right, the network's 99.28 %; other classes on 9"
