"""What training minimises, as functions of the output record and the labels."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss, one_hot

from lifline.choices import LossName
from lifline.snn.network import Record

Loss = Callable[[Record, Tensor], Tensor]
"""Maps a record of `[T, B, C]` and labels `[B]` to a scalar, the mean over the batch."""

SUMMED_OVER_STEPS: frozenset[LossName] = frozenset({"membrane_ce"})
"""Losses that grow with the number of steps; compare them per step."""


def membrane_ce(record: Record, labels: Tensor) -> Tensor:
    """Cross-entropy on the membrane at every step, summed over steps: the loss of snnTorch's tutorial 5."""
    num_steps = len(record.membrane)
    classes_outermost = record.membrane.permute(2, 0, 1)[None]  # a softmax over the innermost axis takes twice as long
    return num_steps * cross_entropy(classes_outermost, labels.expand(1, num_steps, -1))


def count_ce(record: Record, labels: Tensor) -> Tensor:
    """Cross-entropy on the spike counts."""
    return cross_entropy(record.spikes.sum(0), labels)


def rate_ce(record: Record, labels: Tensor) -> Tensor:
    """Cross-entropy on the spikes of every step, the mean over steps: snnTorch's `ce_rate_loss`, tutorial 6."""
    return cross_entropy(record.spikes.permute(2, 0, 1)[None], labels.expand(1, len(record.spikes), -1))


def rate_mse(record: Record, labels: Tensor, correct_rate: float, incorrect_rate: float) -> Tensor:
    """Squared error of each class's firing rate against its target, the mean over batch and classes."""
    rates = record.spikes.mean(0)
    is_correct = one_hot(labels, rates.shape[1]).bool()
    targets = torch.where(is_correct, correct_rate, incorrect_rate).to(rates.dtype)
    return mse_loss(rates, targets)


def hidden_firing_rate(record: Record) -> Tensor:
    """Spikes per hidden neuron and step, the mean over batch and neurons."""
    return torch.cat(list(record.hidden_counts), 1).mean() / len(record.spikes)
