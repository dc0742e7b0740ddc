"""What no implementation in float32 can leave out: the products and Adam, on memory that is there already."""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.contestants.torch_training import torch_batches
from benchmarks.task import ADAM_BETAS, Task, TaskLayer
from lifline.layers import Convolution

FIRING = 0.2
"""Share of spikes that are 1; the products take as long with any."""


def with_readout(task: Task, data: Path) -> Iterator[float]:
    """Run the products of all layers; behind the first there are three of each, over `[T*B]`."""
    return _run(task, data, task.network_layers()[1:])


def without_readout(task: Task, data: Path) -> Iterator[float]:
    """Run the input layer's two products alone, for an implementation that fuses the readout layer with the neurons."""
    return _run(task, data, [])


def _run(task: Task, data: Path, seeing_spikes: list[TaskLayer]) -> Iterator[float]:
    drawn = {name: _laid_out(torch.from_numpy(values)) for name, values in task.weights().items()}
    weights = {name: weight.requires_grad_() for name, weight in drawn.items()}
    for weight in weights.values():
        weight.grad = torch.randn_like(weight)
    optimizer = torch.optim.Adam(weights.values(), lr=task.learning_rate, betas=ADAM_BETAS, fused=True)
    first = task.network_layers()[0]
    see_image = _products(first, weights, task.batch_size, wants_input_grad=False)
    rows = task.num_steps * task.batch_size
    see_spikes = [
        (_products(layer, weights, rows), _laid_out(torch.bernoulli(torch.full((rows, *layer.input_shape), FIRING))))
        for layer in seeing_spikes
    ]
    for images, _ in torch_batches(task, data):
        with torch.no_grad():
            see_image(images)
            for products, spikes in see_spikes:
                products(spikes)
        optimizer.step()
        yield 0.0


def _products(
    layer: TaskLayer, weights: dict[str, Tensor], rows: int, wants_input_grad: bool = True
) -> Callable[[Tensor], None]:
    """Return what runs a layer's products on its inputs, `[rows, *input_shape]`: forward, and both of the backward."""
    weight, projected_grad = weights[f"{layer.name}.weight"], _laid_out(torch.randn(rows, *layer.shapes.projected))
    if isinstance(layer.layer.projection, Convolution):
        padding = [layer.layer.projection.padding] * 2
        wanted = [wants_input_grad, True, False]

        def convolve(inputs: Tensor) -> None:
            torch.conv2d(inputs, weight, padding=padding)
            torch.ops.aten.convolution_backward(
                projected_grad, inputs, weight, None, [1, 1], padding, [1, 1], False, [0, 0], 1, wanted
            )

        return convolve

    projected, weight_grad = torch.empty_like(projected_grad), weight.grad
    input_grad = torch.empty(rows, weight.shape[1]) if wants_input_grad else None

    def multiply(inputs: Tensor) -> None:
        inputs = inputs.flatten(1)
        torch.mm(inputs, weight.T, out=projected)
        torch.mm(projected_grad.T, inputs, out=weight_grad)
        if input_grad is not None:
            torch.mm(projected_grad, weight, out=input_grad)

    return multiply


def _laid_out(tensor: Tensor) -> Tensor:
    """Put channels last, by which PyTorch's convolutions take a sixth less time."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor  # noqa: PLR2004
