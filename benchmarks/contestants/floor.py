"""What no implementation in float32 can leave out: the matrix products and Adam, on memory that is there already."""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from benchmarks.contestants.torch_training import torch_batches
from benchmarks.task import ADAM_BETAS, NUM_CLASSES, Task


def with_readout(task: Task, data: Path) -> Iterator[float]:
    """Run all five products; the readout layer's three are over `[T*B]` rows."""
    return _run(task, data, _readout_products(task))


def without_readout(task: Task, data: Path) -> Iterator[float]:
    """Run the input layer's two products alone, for an implementation that fuses the readout layer with the neurons."""
    return _run(task, data, lambda: None)


def _run(task: Task, data: Path, readout: Callable[[], None]) -> Iterator[float]:
    weights = {name: torch.from_numpy(values).requires_grad_() for name, values in task.weights().items()}
    for weight in weights.values():
        weight.grad = torch.randn_like(weight)
    optimizer = torch.optim.Adam(weights.values(), lr=task.learning_rate, betas=ADAM_BETAS, fused=True)
    fc1 = weights["fc1.weight"]
    current, current_grad = torch.empty(task.batch_size, task.hidden), torch.randn(task.batch_size, task.hidden)
    for images, _ in torch_batches(task, data):
        with torch.no_grad():
            torch.mm(images, fc1.T, out=current)
            readout()
            torch.mm(current_grad.T, images, out=fc1.grad)
        optimizer.step()
        yield 0.0


def _readout_products(task: Task) -> Callable[[], None]:
    rows = task.num_steps * task.batch_size
    spikes = torch.bernoulli(torch.full((rows, task.hidden), 0.2))
    weight, projected_grad = torch.randn(NUM_CLASSES, task.hidden), torch.randn(rows, NUM_CLASSES)
    projected, weight_grad, spikes_grad = (torch.empty_like(like) for like in (projected_grad, weight, spikes))

    def products() -> None:
        torch.mm(spikes, weight.T, out=projected)
        torch.mm(projected_grad.T, spikes, out=weight_grad)
        torch.mm(projected_grad, weight, out=spikes_grad)

    return products
