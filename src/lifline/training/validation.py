"""How a network does on images that it does not learn from."""

from typing import NamedTuple

import torch

from lifline.choices import Decoding
from lifline.data.images import LabelledImages
from lifline.models.model import run_over
from lifline.snn.decoding import decode
from lifline.snn.loss import Loss
from lifline.snn.network import SpikingNetwork


class Validation(NamedTuple):
    """Mean loss and accuracy (0 to 1) over a set of images."""

    loss: float
    accuracy: float


@torch.no_grad()
def validate(network: SpikingNetwork, data: LabelledImages, loss: Loss, decoding: Decoding) -> Validation:
    """Return loss and accuracy of a network, with no effect on it."""
    losses, correct = [], []
    for look in run_over(network, data):
        record, labels = look.record, look.labels
        losses.append(loss(record, labels) * len(labels))
        correct.append((decode(record, decoding) == labels).sum())
    total = len(data.labels)
    return Validation(torch.stack(losses).sum().item() / total, torch.stack(correct).sum().item() / total)
