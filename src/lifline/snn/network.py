"""The network: two linear layers, each followed by leaky integrate-and-fire neurons."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lifline.params import SurrogateName
from lifline.snn.lif import lif, lif_linear


class Record(NamedTuple):
    """What the network did: output spikes and membrane `[T, B, C]`, hidden neurons' spike counts `[B, H]`."""

    spikes: Tensor
    membrane: Tensor
    hidden_counts: Tensor


class SpikingNetwork(nn.Module):
    """`num_inputs` pixels, `hidden` spiking neurons, `num_classes` spiking neurons.

    Args:
        num_inputs: input values per image.
        hidden: neurons in the hidden layer, H.
        num_classes: output neurons, C.
        beta, threshold, num_steps, surrogate, spike_delay: of every neuron, as in `lif`.
        seed: draws the initial weights, the same on every device.
    """

    def __init__(
        self,
        num_inputs: int,
        hidden: int,
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
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.fc1 = nn.Linear(num_inputs, hidden)
            self.fc2 = nn.Linear(hidden, num_classes)

    def forward(self, images: Tensor) -> Record:
        """Show the network a batch of images.

        Args:
            images: `[B, num_inputs]`, shown at every step; or `[T, B, num_inputs]`, one a step, where T is
                `num_steps`.
        """
        is_constant = images.dim() == 2  # noqa: PLR2004
        hidden_current = self.fc1(images)  # once, where all steps see the same image
        current, hidden_counts = lif_linear(
            hidden_current,
            self.fc2.weight,
            self.fc2.bias,
            num_steps=self.num_steps if is_constant else None,
            **self.neuron,
        )
        spikes, membrane = lif(current, **self.neuron)
        return Record(spikes, membrane, hidden_counts)
