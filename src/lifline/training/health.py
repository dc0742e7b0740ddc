"""The health of a training: figures that tell why a network does not learn, where its loss only tells that.

They are of one look an epoch, draw nothing from the training's generator, and change nothing.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lifline.data.batches import as_input
from lifline.layers import layer_names
from lifline.models.model import CODING_SEED, images_at_once
from lifline.snn.firing import Firing
from lifline.snn.layer import SpikingLayer
from lifline.snn.network import SpikingNetwork
from lifline.snn.surrogate import SURROGATES
from lifline.snn.trace import trace

MAX_TRACED = 32
"""Images of which all membranes are looked at."""


class Health(NamedTuple):
    """Figures by layer, `hidden_1` to `output`, and of the answers. Shares are from 0 to 1."""

    silent: dict[str, float]
    """Share of the neurons that never fire on validation images."""

    saturated: dict[str, float]
    """Share of the neurons that fire at nearly every step of all validation images."""

    silent_outputs: float
    """Share of the validation images for which no output neuron fires."""

    ties: float
    """Share of the validation images for which several output neurons fire most, and equally often."""

    gradient_norm: dict[str, float]
    """Euclidean norm of the gradient of the epoch's last batch, over all that the layer learns.

    With train.centre_inputs the first layer's is that beside centred inputs, by which it learns.
    """

    gradient_passed: dict[str, float]
    """Share of a spike's gradient that the surrogate lets through to the membrane.

    That is the surrogate's derivative over its maximum, which is 1 for each, as the mean over neurons, steps and the
    first validation images: 1 with straight_through; 0 where no membrane is near its threshold.
    """

    update_ratio: dict[str, float]
    """Norm of what the epoch added to the weights over their norm before, for one optimizer step.

    That is over the root of the number of steps, since random updates lead so far: epochs of any length compare.
    """


def weights_of(network: SpikingNetwork) -> list[Tensor]:
    """Return a copy of what each layer's projection has learned, as vectors."""
    return [_joined(layer.projection.parameters()) for layer in network.layers]


def measure_health(
    network: SpikingNetwork, firing: Firing, before: Sequence[Tensor], num_steps_taken: int, images: Tensor
) -> Health:
    """Look at a network after an epoch, while the gradients of the last batch are there.

    Args:
        network: as it is now.
        firing: over the validation images.
        before: what `weights_of` returned before the epoch.
        num_steps_taken: optimizer steps since then.
        images: uint8 `[B, C, H, W]`, of which the first are looked at step by step.
    """
    names = layer_names(len(network.layers))

    def by_layer(figure: Callable[[SpikingLayer], float]) -> dict[str, float]:
        return {name: figure(layer) for name, layer in zip(names, network.layers, strict=True)}

    moved = (
        _moved(old, new) / math.sqrt(num_steps_taken) for old, new in zip(before, weights_of(network), strict=True)
    )
    return Health(
        **firing._asdict(),
        gradient_norm=by_layer(_gradient_norm),
        gradient_passed=dict(zip(names, _gradients_passed(network, images), strict=True)),
        update_ratio=dict(zip(names, moved, strict=True)),
    )


def not_finite(health: Health) -> str | None:
    """Tell which figure is not finite; no loss shows that a silent network's weights are not."""
    for figure in ("gradient_norm", "update_ratio"):
        for layer, value in getattr(health, figure).items():
            if not math.isfinite(value):
                return f"{figure.replace('_', ' ')} of {layer} is {value}"
    return None


def _gradient_norm(layer: SpikingLayer) -> float:
    """In double precision: squares of large gradients are larger than float32 reaches."""
    gradient = _joined(each.grad for each in layer.parameters() if each.grad is not None)
    return float(gradient.cpu().double().norm())


def _moved(old: Tensor, new: Tensor) -> float:
    return float((new - old).norm() / old.norm())


@torch.no_grad()
def _gradients_passed(network: SpikingNetwork, images: Tensor) -> list[float]:
    inputs = as_input(images[: min(MAX_TRACED, images_at_once(network))])
    generator = torch.Generator(images.device).manual_seed(CODING_SEED)
    traces = trace(network, inputs, generator)
    return [
        SURROGATES[layer.neuron.surrogate](traced.membrane - layer.neuron.threshold).mean().item()
        for layer, traced in zip(network.layers, traces, strict=True)
    ]


def _joined(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors])
