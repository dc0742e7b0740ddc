"""The leaky integrate-and-fire neuron is specified here, in plain PyTorch.

Eshraghian et al., "Training Spiking Neural Networks Using Lessons From Deep Learning", Proceedings of the IEEE
111, 2023; the same as `snntorch.Leaky` with `reset_mechanism="subtract"`.
"""

import torch
from torch import Tensor

from lifline.choices import SurrogateName
from lifline.snn.surrogate import fire


def lif(
    current: Tensor, beta: float | Tensor, threshold: float, num_steps: int, surrogate: SurrogateName, spike_delay: int
) -> tuple[Tensor, Tensor]:
    """Run `lifline.snn.lif` step by step: slow, differentiable, exportable, and right by definition."""
    currents = list(current) if current.dim() == 3 else [current] * num_steps  # noqa: PLR2004
    membrane = spike = torch.zeros_like(currents[0])
    membranes, spikes = [], []
    for current_now in currents:
        membrane = beta * membrane + current_now - threshold * spike.detach()  # decay, charge, reset
        spike = fire(membrane - threshold, surrogate)
        membranes.append(membrane)
        spikes.append(spike)
    if spike_delay == 1:
        spikes = [torch.zeros_like(spike), *spikes[:-1]]
    return torch.stack(spikes), torch.stack(membranes)
