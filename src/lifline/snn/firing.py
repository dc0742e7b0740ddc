"""How a network fires over many images: what its accuracy does not tell."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

SATURATED_RATE = 0.9
"""Spikes per step and image from which on a neuron tells images apart no more."""


class Firing(NamedTuple):
    """How many neurons tell nothing, by layer, and how many images get no clear answer. All are shares, 0 to 1."""

    silent: dict[str, float]
    """Neurons that fire for no image."""

    saturated: dict[str, float]
    """Neurons that fire at nearly every step of all images: at `SATURATED_RATE` and more."""

    silent_outputs: float
    """Images for which no output neuron fires."""

    ties: float
    """Images for which several output neurons fire most, and equally often."""


def firing_of(spikes: Mapping[str, Tensor], output_counts: Tensor, num_steps: int) -> Firing:
    """Sum up how a network fires.

    Args:
        spikes: by layer, each neuron's spikes over all images and steps, `[N]`.
        output_counts: how often each output neuron fires for each image, `[B, C]`.
        num_steps: T.
    """
    most = output_counts.amax(1, keepdim=True)
    is_tied = ((output_counts == most).sum(1) > 1) & (most[:, 0] > 0)
    saturated_from = SATURATED_RATE * num_steps * len(output_counts)
    return Firing(
        silent={layer: _share(counts == 0) for layer, counts in spikes.items()},
        saturated={layer: _share(counts >= saturated_from) for layer, counts in spikes.items()},
        silent_outputs=_share(most == 0),
        ties=_share(is_tied),
    )


def _share(holds: Tensor) -> float:
    return int(holds.sum()) / holds.numel()
