"""How far the integer network is from the one that it was made of."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lifline.choices import Decoding
from lifline.data.images import LabelledImages
from lifline.export.integer.network import IntegerNetwork
from lifline.export.integer.reference import IntegerRecord, run
from lifline.models.model import run_over
from lifline.snn.decoding import decode
from lifline.snn.network import SpikingNetwork
from lifline.snn.trace import trace


class IntegerProof(NamedTuple):
    """How far a network and its integer network differ over a set of images."""

    images: int
    float_accuracy: float
    """Share of the images that the network decides right, 0 to 1."""

    integer_accuracy: float
    class_mismatches: int
    spike_mismatches: int
    """Of all neurons, in each step."""

    spikes_compared: int
    num_bytes: int
    """Of the integer network's weights, biases and thresholds."""

    def describe(self) -> str:
        """The proof in a line."""
        return (
            f"the integer network of {self.num_bytes / 1e6:.3f} MB is right on {100 * self.integer_accuracy:.2f} % of "
            f"{self.images:,} images, the network on {100 * self.float_accuracy:.2f} %; they differ in class on "
            f"{self.class_mismatches:,}, and in {self.spike_mismatches:,} of {self.spikes_compared:,} spikes"
        )

    def verdict(self) -> str:
        """The proof on test images, for a screen."""
        right, expected = 100 * self.integer_accuracy, 100 * self.float_accuracy
        return (
            f"{right:.2f} % of {self.images:,} test images right, the network's {expected:.2f} %; other classes on "
            f"{self.class_mismatches:,}"
        )


def prove(integer: IntegerNetwork, network: SpikingNetwork, decoding: Decoding, data: LabelledImages) -> IntegerProof:
    """Run the integer network by its specification over all images, and the network beside it, on the CPU."""
    float_correct = integer_correct = class_mismatches = spike_mismatches = spikes_compared = 0
    for look in run_over(network, data):
        expected = decode(look.record, decoding).numpy()
        found = run(integer, _as_bytes(look.images))
        labels = look.labels.numpy()
        float_correct += int((expected == labels).sum())
        integer_correct += int((found.classes == labels).sum())
        class_mismatches += int((found.classes != expected).sum())
        with torch.no_grad():
            traced = trace(network, look.images)
        spike_mismatches += _mismatches(found, (layer.spikes for layer in traced))
        spikes_compared += sum(layer.spikes.size for layer in found.layers)
    num_images = len(data.labels)
    return IntegerProof(
        num_images, float_correct / num_images, integer_correct / num_images,
        class_mismatches, spike_mismatches, spikes_compared, integer.num_bytes,
    )  # fmt: skip


def _mismatches(found: IntegerRecord, expected: Iterable[Tensor]) -> int:
    return sum(
        int((layer.spikes != spikes.numpy().astype(bool)).sum())
        for layer, spikes in zip(found.layers, expected, strict=True)
    )


def _as_bytes(images: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return the bytes that a batch of the network's input was made of."""
    return (255 * images).round().byte().numpy()
