"""Centring: the first layer learns as if its inputs' means over the training images were 0."""

import torch
from torch import Tensor, nn

from lifline.snn.network import SpikingNetwork

IMAGES_AT_ONCE = 100
"""PyTorch turns what it sums into integers of 8 bytes."""


class Centring:
    """Coordinates of a first layer, in which its inputs are centred: W (x - mean) + c, where c = W mean + b.

    The network keeps W and b, and sees images as they are; what differs is the optimizer's way. Where all inputs are
    positive, the weights of a neuron can only rise or fall together, which is slow (LeCun, Bottou, Orr and Müller,
    "Efficient BackProp", in Neural Networks: Tricks of the Trade, 1998, section 4.3).

    Args:
        network: its first layer learns so.
        images: `[N, C, H, W]`, uint8, on the network's device. A convolution takes the mean of each channel, at the
            places of its padding, too.
    """

    def __init__(self, network: SpikingNetwork, images: Tensor) -> None:
        projection = network.layers[0].projection
        self.weight: Tensor
        self.bias: Tensor
        self.weight, self.bias = projection.parameters()
        total = torch.stack([part.sum(0) for part in images.split(IMAGES_AT_ONCE)]).sum(0)
        mean = total.float() / (255 * len(images))
        self.mean = mean.mean((1, 2), keepdim=True) if isinstance(projection, nn.Conv2d) else mean.flatten()

    @torch.no_grad()
    def start(self) -> None:
        """Take the bias for c, which changes the network: for one whose weights were just drawn."""
        self.bias -= self._shift()

    def enter(self) -> None:
        """Turn the bias into c, and the weight's gradient into the one that it has beside c."""
        self.bias += self._shift()
        assert self.weight.grad is not None, "the optimizer follows a backward pass"
        assert self.bias.grad is not None
        self.weight.grad -= self.bias.grad.view(-1, *[1] * (self.weight.ndim - 1)) * self.mean

    def leave(self) -> None:
        """Turn c into the bias again."""
        self.bias -= self._shift()

    def _shift(self) -> Tensor:
        return (self.weight * self.mean).flatten(1).sum(1)
