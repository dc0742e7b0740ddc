"""The leaky integrate-and-fire neuron is specified here, in plain PyTorch.

Eshraghian et al., "Training Spiking Neural Networks Using Lessons From Deep Learning", Proceedings of the IEEE
111, 2023; the same as `snntorch.Leaky` with `reset_mechanism="subtract"`.
"""

import torch
from torch import Tensor

from lifline.choices import SurrogateName
from lifline.snn.surrogate import fire


def lif(
    current: Tensor,
    beta: float | Tensor,
    threshold: float | Tensor,
    num_steps: int | None,
    surrogate: SurrogateName,
    spike_delay: int,
    initial: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Run `lifline.snn.lif` step by step: slow, differentiable, exportable, and right by definition."""
    currents = current.unbind() if num_steps is None else [current] * num_steps
    membrane = torch.zeros_like(currents[0]) if initial is None else initial
    spike = before = torch.zeros_like(membrane) if initial is None else fire(initial - threshold, surrogate)
    membranes, spikes = [], []
    for current_now in currents:
        membrane = beta * membrane + current_now - threshold * spike.detach()  # decay, charge, reset
        spike = fire(membrane - threshold, surrogate)
        membranes.append(membrane)
        spikes.append(spike)
    if spike_delay == 1:
        spikes = [before, *spikes[:-1]]
    return torch.stack(spikes), torch.stack(membranes)
