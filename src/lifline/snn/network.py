"""The network: linear layers, each followed by leaky integrate-and-fire neurons."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lifline.choices import SurrogateName
from lifline.snn.lif import lif, lif_linear


class Record(NamedTuple):
    """What the network did: output spikes and membrane `[T, B, C]`, each hidden layer's spike counts `[B, H]`."""

    spikes: Tensor
    membrane: Tensor
    hidden_counts: Sequence[Tensor]


class SpikingNetwork(nn.Module):
    """`num_inputs` pixels, layers of `hidden` spiking neurons, `num_classes` spiking neurons.

    Args:
        num_inputs: input values per image.
        hidden: neurons in each hidden layer, H.
        num_classes: output neurons, C.
        beta, threshold, num_steps, surrogate, spike_delay: of every neuron, as in `lif`.
        seed: draws the initial weights, the same on every device.
    """

    def __init__(
        self,
        num_inputs: int,
        hidden: Sequence[int],
        num_classes: int,
        beta: float,
        num_steps: int,
        threshold: float = 1.0,
        surrogate: SurrogateName = "atan",
        spike_delay: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.num_steps = num_steps
        self.neuron: dict[str, Any] = {
            "beta": beta,
            "threshold": threshold,
            "surrogate": surrogate,
            "spike_delay": spike_delay,
        }
        sizes = [num_inputs, *hidden, num_classes]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers: Sequence[nn.Linear] = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(sizes))  # type: ignore[assignment]

    def forward(self, images: Tensor, num_steps: int | None = None) -> Record:
        """Show the network a batch of images.

        Args:
            images: `[B, num_inputs]`, shown at every step; or `[T, B, num_inputs]`, one a step.
            num_steps: T for images that are shown at every step, the network's own where none is given.
        """
        is_constant = images.dim() == 2  # noqa: PLR2004
        steps = (self.num_steps if num_steps is None else num_steps) if is_constant else None
        first, *later = self.layers
        current = first(images)  # once, where all steps see the same image
        hidden_counts = []
        for layer in later:
            current, counts = lif_linear(current, layer.weight, layer.bias, num_steps=steps, **self.neuron)
            hidden_counts.append(counts)
            steps = None  # from here on each step has a current of its own
        spikes, membrane = lif(current, **self.neuron)
        return Record(spikes, membrane, hidden_counts)
