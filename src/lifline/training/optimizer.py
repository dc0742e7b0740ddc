"""Adam, and its learning rate over the epochs."""

import math

import torch
from torch import Tensor
from torch.optim.adam import adam

from lifline.params import TrainParams
from lifline.snn.network import SpikingNetwork
from lifline.training.centring import Centring


class Adam:
    """Adam with betas 0.9 and 0.999, by PyTorch's function for it.

    To construct its class `torch.optim.Adam` takes a second, in which PyTorch imports its compiler.
    """

    def __init__(self, network: SpikingNetwork) -> None:
        self.parameters: list[Tensor] = list(network.parameters())
        self.averages = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.averages_of_squares = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.steps = [torch.zeros((), device=parameter.device) for parameter in self.parameters]

    @torch.no_grad()
    def step(self, learning_rate: float, centring: Centring | None = None) -> None:
        """Update the parameters in place by their gradients, those of the first layer in centred coordinates if so."""
        if centring:
            centring.enter()
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        adam(
            self.parameters, gradients, self.averages, self.averages_of_squares, [], self.steps,
            fused=True, amsgrad=False, maximize=False, beta1=0.9, beta2=0.999, lr=learning_rate,
            weight_decay=0.0, eps=1e-8,
        )  # fmt: skip
        if centring:
            centring.leave()


def learning_rate_at(epoch: float, params: TrainParams) -> float:
    """The learning rate of the optimizer step that ends at `epoch`, a share of epochs: 0.5 is half of the first."""
    if epoch < params.warmup_epochs:
        return params.learning_rate * epoch / params.warmup_epochs
    if params.schedule == "constant":
        return params.learning_rate
    falling_epochs = params.epochs - params.warmup_epochs
    progress = (epoch - params.warmup_epochs) / falling_epochs if falling_epochs else 1
    return params.learning_rate * (1 + math.cos(math.pi * progress)) / 2
