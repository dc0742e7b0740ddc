"""How a network does on images that it does not learn from."""

from typing import NamedTuple

import torch

from lifline.choices import Decoding
from lifline.data.images import LabelledImages
from lifline.layers import layer_names
from lifline.models.model import run_over
from lifline.snn.decoding import decode
from lifline.snn.firing import Firing, firing_of
from lifline.snn.loss import Loss
from lifline.snn.network import SpikingNetwork


class Validation(NamedTuple):
    """Mean loss, accuracy (0 to 1) and firing over a set of images."""

    loss: float
    accuracy: float
    firing: Firing


@torch.no_grad()
def validate(network: SpikingNetwork, data: LabelledImages, loss: Loss, decoding: Decoding) -> Validation:
    """Return loss, accuracy and firing of a network, with no effect on it."""
    losses, correct, spikes, output_counts = [], [], [], []
    for look in run_over(network, data):
        record, labels = look.record, look.labels
        losses.append(loss(record, labels) * len(labels))
        correct.append((decode(record, decoding) == labels).sum())
        output_counts.append(record.spikes.sum(0))
        spikes.append([counts.sum(0) for counts in (*record.hidden_counts, output_counts[-1])])
    total = len(data.labels)
    by_layer = [torch.stack(of_batches).sum(0) for of_batches in zip(*spikes, strict=True)]
    return Validation(
        torch.stack(losses).sum().item() / total,
        torch.stack(correct).sum().item() / total,
        firing_of(
            dict(zip(layer_names(len(by_layer)), by_layer, strict=True)), torch.cat(output_counts), network.num_steps
        ),
    )
