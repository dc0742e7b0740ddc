"""How good a network is, and how much it fires."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor

from lifline.data.batches import batches_in_order
from lifline.data.mnist import LabelledImages
from lifline.errors import ModelError
from lifline.params import Decoding
from lifline.snn.decoding import decode
from lifline.snn.loss import Loss
from lifline.snn.network import Record, SpikingNetwork

BATCH_SIZE = 500


class Validation(NamedTuple):
    """Mean loss and accuracy (0 to 1) over a set of images."""

    loss: float
    accuracy: float


class Evaluation(NamedTuple):
    """What a network does with a set of images."""

    decoding: Decoding
    """The configured one."""

    labels: Tensor
    """int64 `[N]`."""

    predictions: dict[Decoding, Tensor]
    """The decided classes under each decoding, int64 `[N]`."""

    num_steps: int

    hidden_spikes: Tensor
    """Each hidden neuron's spikes over all images and steps, int64 `[H]`."""

    output_spikes: Tensor
    """Each output neuron's, int64 `[C]`."""

    def accuracy(self, decoding: Decoding) -> float:
        """The share of images that get their label under a decoding."""
        return self._num_correct(decoding) / len(self.labels)

    def as_metrics(self) -> dict[str, Any]:
        """The figures as nested metrics, rates in spikes per neuron and step."""
        num_images = len(self.labels)
        per_image = {
            "hidden": self.hidden_spikes.sum().item() / num_images,
            "output": self.output_spikes.sum().item() / num_images,
        }
        sizes = {"hidden": len(self.hidden_spikes), "output": len(self.output_spikes)}
        return {
            "accuracy": self.accuracy(self.decoding),
            "correct": self._num_correct(self.decoding),
            "total": num_images,
            "accuracy_by_decoding": {decoding: self.accuracy(decoding) for decoding in self.predictions},
            "firing_rate": {layer: per_image[layer] / (sizes[layer] * self.num_steps) for layer in sizes},
            "spikes_per_image": per_image,
            # Every hidden spike reaches every output neuron; output spikes reach nothing.
            "synaptic_operations_per_image": per_image["hidden"] * sizes["output"],
            "silent_hidden_neurons": (self.hidden_spikes == 0).double().mean().item(),
        }

    def _num_correct(self, decoding: Decoding) -> int:
        return int((self.predictions[decoding] == self.labels).sum())


def evaluate(network: SpikingNetwork, data: LabelledImages, decoding: Decoding) -> Evaluation:
    """Show a network every image once and note what it decides and how it fires."""
    predictions: dict[Decoding, list[Tensor]] = {how: [] for how in get_args(Decoding)}
    hidden_spikes, output_spikes = [], []
    for record, _ in _records(network, data):
        for how, decided in predictions.items():
            decided.append(decode(record, how))
        hidden_spikes.append(record.hidden_counts.sum(0).long())
        output_spikes.append(record.spikes.sum((0, 1)).long())
    return Evaluation(
        decoding=decoding,
        labels=data.labels.cpu(),
        predictions={how: torch.cat(decided).cpu() for how, decided in predictions.items()},
        num_steps=network.num_steps,
        hidden_spikes=torch.stack(hidden_spikes).sum(0).cpu(),
        output_spikes=torch.stack(output_spikes).sum(0).cpu(),
    )


def validate(network: SpikingNetwork, data: LabelledImages, loss: Loss, decoding: Decoding) -> Validation:
    """Loss and accuracy of a network, with no effect on it."""
    losses, correct = [], []
    for record, labels in _records(network, data):
        losses.append(loss(record, labels) * len(labels))
        correct.append((decode(record, decoding) == labels).sum())
    total = len(data.labels)
    return Validation(torch.stack(losses).sum().item() / total, torch.stack(correct).sum().item() / total)


def read_metrics(path: Path) -> dict[str, Any]:
    """The metrics of a written evaluation.

    Raises:
        ModelError: the file is missing or damaged.
    """
    try:
        metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        float(metrics["accuracy"])
    except FileNotFoundError:
        raise ModelError(f"{path} is missing; `dvc repro evaluate` makes it") from None
    except (ValueError, KeyError, TypeError):
        raise ModelError(f"{path} is damaged: it holds no accuracy; `dvc repro -f evaluate` makes it anew") from None
    return metrics


@torch.no_grad()
def _records(network: SpikingNetwork, data: LabelledImages) -> Iterator[tuple[Record, Tensor]]:
    for images, labels in batches_in_order(data, BATCH_SIZE):
        yield network(images), labels
