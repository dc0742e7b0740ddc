"""A layer of a spiking network: what its neurons see of the spikes before, and the neurons."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.nn.functional import avg_pool2d, conv2d, max_pool2d, pad
from torch.nn.modules import module as torch_module

from lifline.layers import Convolution, Dense, HiddenLayer, Shapes, write_layers
from lifline.snn.arguments import HALVES
from lifline.snn.lif import (
    MAX_FUSED_OUTPUTS,
    MAX_FUSED_OUTPUTS_BESIDE_HALVES,
    lif,
    lif_conv,
    lif_linear,
    lif_spikes,
)
from lifline.snn.modes import is_autocast, is_recorded, is_transformed
from lifline.snn.neuron import Lif

POOLS: dict[str, Callable[..., Tensor]] = {"max": max_pool2d, "average": avg_pool2d}

HOOKS = ("forward_hooks", "forward_pre_hooks", "backward_hooks", "backward_pre_hooks")
"""What PyTorch runs around a module's forward, under these names in a module and, for all of them, in its own."""

PLAIN_TENSORS = (Tensor, nn.Parameter, FakeTensor, FunctionalTensor)
"""Whose numbers are all there is to them. Other classes may have products of their own, as quantised weights do."""


class Spikes(nn.Identity):
    """Where a layer's spikes go out, `[T, B, *shape]`: the place for hooks, and for modules that change spikes."""


class SpikingLayer(nn.Module):
    """A projection, pooling where the layer has any, and leaky integrate-and-fire neurons.

    Args:
        layer: what it is made of.
        input_shape: of what it sees in a step, `(N,)` or `(C, H, W)`.
        shapes: of what the projection gives and of its neurons.
        neuron: all of its neurons.
        learn_beta: whether their decay is learned, one for all of them: the sigmoid of `beta_logit`, which starts at
            the neuron's.

    Raises:
        ValueError: the decay is learned, and starts at 0 or 1, where its gradient vanishes.
    """

    def __init__(
        self, layer: HiddenLayer, input_shape: Sequence[int], shapes: Shapes, neuron: Lif, learn_beta: bool = False
    ) -> None:
        super().__init__()
        self.input_shape, self.projected_shape, self.shape = tuple(input_shape), shapes.projected, shapes.neurons
        self.projection = _module_of(layer.projection, self.input_shape)
        self.layer = layer
        self.neuron = neuron
        self.spikes = Spikes()
        if learn_beta and not 0 < neuron.beta < 1:
            raise ValueError(f"beta is {neuron.beta}; allowed is above 0 and below 1 where it is learned")
        self.beta_logit = nn.Parameter(torch.tensor(neuron.beta).logit()) if learn_beta else None

    @property
    def beta(self) -> float | Tensor:
        """The decay: the neuron's number, or where it is learned a 0-d tensor that gradients reach."""
        return self.neuron.beta if self.beta_logit is None else self.beta_logit.sigmoid()

    def decay(self) -> float:
        """Return beta as a number; where it is learned, this waits for the device."""
        return self.neuron.beta if self.beta_logit is None else self.beta_logit.sigmoid().item()

    @property
    def neuron_options(self) -> dict[str, Any]:
        """The arguments by which `lif` runs the layer's neurons."""
        return vars(self.neuron) | {"beta": self.beta}

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the neurons' input current, `[B, *shape]` or `[T, B, *shape]`, for inputs with as many axes before."""
        before = inputs.shape[: inputs.dim() - len(self.input_shape)]
        parameter = next(self.projection.parameters(), None)
        if parameter is not None and parameter.dtype in HALVES:
            inputs = inputs.to(parameter.dtype)  # spikes are float32
        if len(self.projected_shape) == 1:
            current: Tensor = self.projection(inputs.flatten(len(before)))
            return current
        images = inputs.flatten(0, len(before) - 1)
        if images.is_cpu and not (is_recorded() or is_transformed()):
            images = images.to(memory_format=torch.channels_last)  # so pooling takes a third of the time
        current = self.projection(images)
        if pooling := self.layer.pooling:
            current = POOLS[pooling.kind](current, pooling.size)
        return current.view(*before, *current.shape[1:])

    def fire(self, current: Tensor, num_steps: int | None, initial: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return spikes and membrane, `[T, B, *shape]`, for a current at every step or, with `num_steps`, at all.

        They start from a membrane of 0, or from `initial`, `[B, *shape]`.
        """
        spikes, membrane = lif(current, num_steps=num_steps, initial=initial, **self.neuron_options)
        return self.spikes(spikes), membrane

    def fire_into(self, following: "SpikingLayer", current: Tensor, num_steps: int | None) -> tuple[Tensor, Tensor]:
        """Return the current of the following layer, `[T, B, *its shape]`, and how often each neuron fired, `[B, N]`.

        Counts are the sums of what `spikes` gives, where somebody put another module there.
        A plain projection is computed together with the neurons where that is faster: spikes are not stored then.
        """
        options = self.neuron_options | {"num_steps": num_steps}
        is_seen = self.has_seen_spikes()
        plain, (projection, pooling) = None if is_seen else following.plain_parameters(), following.layer
        at_most = MAX_FUSED_OUTPUTS_BESIDE_HALVES if is_autocast(current.device.type) else MAX_FUSED_OUTPUTS
        if plain and isinstance(projection, Dense) and projection.num_neurons <= at_most:
            projected, counts = lif_linear(current, *plain, **options)
        elif plain and isinstance(projection, Convolution) and (pooling is None or pooling.kind == "max"):
            pool = pooling.size if pooling else 1
            projected, counts = lif_conv(current, *plain, projection.padding, pool, **options)
        else:
            spikes, counts = lif_spikes(current, **options)
            if is_seen:
                spikes = self.spikes(spikes)
                counts = spikes.sum(0)
            projected = following(spikes)
        return projected, counts.flatten(1)

    def has_seen_spikes(self) -> bool:
        """Whether somebody hooked into `spikes`, or put another module there."""
        return _is_changed(self.spikes)

    def extra_repr(self) -> str:
        """The layer in the field's notation, and its neurons, as `print` shows them."""
        neuron = self.neuron
        beta = f"{neuron.beta:g}" if self.beta_logit is None else "learned"
        delay = f", spike_delay={neuron.spike_delay}" if neuron.spike_delay else ""
        return (
            f"{write_layers([self.layer])}, beta={beta}, threshold={neuron.threshold:g}, surrogate={neuron.surrogate}"
            + delay
        )

    def plain_parameters(self) -> tuple[Tensor, Tensor] | None:
        """Return weight and bias where they are all there is to the projection: nobody hooked in or put in another."""
        projection = self.projection
        if not isinstance(projection, nn.Linear | nn.Conv2d) or projection.bias is None:
            return None
        if _as_written(projection) != self.layer.projection or any(map(_is_changed, (self, projection))):
            return None
        if not (_is_plain(projection.weight) and _is_plain(projection.bias)):
            return None
        return projection.weight, projection.bias

    def fan_out(self) -> Tensor:
        """Return how many synapses a spike of each input reaches, int64 `input_shape`: fewer at edges."""
        if isinstance(self.layer.projection, Dense):
            return torch.full(self.input_shape, self.layer.projection.num_neurons)
        num_filters, kernel, padding = self.layer.projection
        positions = torch.ones(1, 1, *self.projected_shape[1:], dtype=torch.float64)
        margin = kernel - 1 - padding
        reached = conv2d(pad(positions, [margin] * 4), torch.ones(1, 1, kernel, kernel, dtype=torch.float64))[0]
        return (reached * num_filters).round().long().expand(self.input_shape)


def _module_of(projection: Dense | Convolution, input_shape: Sequence[int]) -> nn.Module:
    if isinstance(projection, Dense):
        return nn.Linear(math.prod(input_shape), projection.num_neurons)
    return nn.Conv2d(input_shape[0], projection.num_filters, projection.kernel, padding=projection.padding)


def _as_written(projection: nn.Linear | nn.Conv2d) -> Dense | Convolution | None:
    """Return the projection that a module is; None where it is another that layers do not write."""
    if type(projection) is nn.Linear:
        return Dense(projection.out_features)
    if type(projection) is not nn.Conv2d:
        return None
    usual = (projection.stride, projection.dilation, projection.groups, projection.padding_mode)
    (kernel, width), padding = projection.kernel_size, projection.padding
    if usual != ((1, 1), (1, 1), 1, "zeros") or width != kernel or padding not in ((0, 0), (padding[0],) * 2):
        return None
    return Convolution(projection.out_channels, kernel, int(padding[0]))


def _is_plain(tensor: Tensor) -> bool:
    return type(tensor) in PLAIN_TENSORS and tensor.layout == torch.strided


def _is_changed(module: nn.Module) -> bool:
    """Whether calling a module does what others have put there."""
    if "forward" in vars(module) or type(module) not in (SpikingLayer, Spikes, nn.Linear, nn.Conv2d):
        return True
    return any(
        hooks
        for source, prefix in ((module, "_"), (torch_module, "_global_"))
        for name in HOOKS
        if (hooks := getattr(source, f"{prefix}{name}", None))
    )
