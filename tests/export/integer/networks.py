"""Small networks to be made of whole numbers, and images to show them."""

import numpy as np
import torch

from lifline.snn import Lif, SpikingNetwork

STEP = 2.0**-7
"""Of the weights of an exact network, in each channel."""


def random_network(layers, input_shape, seed=0, num_classes=4, **options) -> SpikingNetwork:
    """A network with weights large enough that its neurons fire."""
    neuron = Lif(options.pop("beta", 0.8), options.pop("threshold", 0.6), spike_delay=options.pop("spike_delay", 0))
    options = {"num_steps": 5} | options
    network = SpikingNetwork.from_layers(layers, input_shape, num_classes, neuron, seed=seed, **options)
    with torch.no_grad():
        for layer in network.layers:
            layer.projection.weight.mul_(3)
    return network


def exact_network(layers, input_shape, seed, **options) -> SpikingNetwork:
    """A network of multiples of `STEP` that int8 holds, whose membranes decay by half."""
    network = random_network(layers, input_shape, seed, beta=0.5, threshold=0.75, **options)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in network.layers:
            weight, bias = layer.projection.weight, layer.projection.bias
            weight.copy_(torch.randint(-127, 128, weight.shape, generator=generator) * STEP)
            each = torch.arange(len(weight))
            flat = weight.view(len(weight), -1)
            flat[each, torch.randint(flat.shape[1], (len(weight),), generator=generator)] = 127 * STEP
            bias.copy_(torch.randint(-30, 31, bias.shape, generator=generator) * STEP)
    return network


def random_images(count, input_shape, seed=0) -> np.ndarray:
    """Bytes, from image to image more of them black, and a sixth white."""
    draw = np.random.default_rng(seed)
    images = draw.integers(0, 256, (count, *input_shape), dtype=np.uint8)
    images[draw.random(images.shape) < 1 / 6] = 255
    share = np.linspace(0, 1, count).reshape(-1, *[1] * len(input_shape))
    images[draw.random(images.shape) < share] = 0
    return images
