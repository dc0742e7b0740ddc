"""A whole epoch, the tutorial's loop as printed and lifline's.

Each is a generator of three figures: 0 once all is ready, the optimizer steps of the epoch once it is over, and the
test accuracy by spike count. https://snntorch.readthedocs.io/en/latest/tutorials/tutorial_5.html
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from benchmarks.contestants.lifline_network import new_network
from benchmarks.contestants.snntorch_networks import TutorialNetwork
from benchmarks.contestants.torch_training import load_weights
from benchmarks.task import ADAM_BETAS, IMAGE_SHAPE, Task
from lifline.data.batches import batches_in_order
from lifline.data.datasets import Dataset, load_dataset
from lifline.data.images import split_training_images
from lifline.params import read_params
from lifline.presets import preset_values
from lifline.training.fit import TrainingState, fit


def tutorial(task: Task, mnist: Path) -> Iterator[float]:
    """Run the tutorial's data loaders, training loop and printouts."""
    torch.manual_seed(0)  # the order of the images
    network = TutorialNetwork(task)
    load_weights(network, task)
    with tempfile.TemporaryDirectory() as root:
        _write_for_torchvision(load_dataset(mnist), Path(root, "MNIST/raw"))
        loaders = _tutorial_loaders(root, task.batch_size)
        yield 0
        yield _tutorial_epoch(network, *loaders, task)
    yield _test_accuracy(lambda images: network(images.flatten(1))[0], mnist)


def lifline(task: Task, mnist: Path) -> Iterator[float]:
    """Run `lifline.training.fit.fit` on all training images, and its validation."""
    params = read_params().with_values(preset_values("tutorial") | {"train.device": "cpu"})
    training = load_dataset(mnist).train
    validation = split_training_images(training, params.data).validation
    new_network(task, IMAGE_SHAPE)(
        torch.zeros(1, *IMAGE_SHAPE)
    ).membrane.sum().backward()  # loads the kernels, as imports do
    network = new_network(task, IMAGE_SHAPE)
    yield 0
    (report,) = fit(TrainingState(network, params.train.seed), training, validation, params)
    yield report.iteration
    yield _test_accuracy(lambda images: network(images).spikes, mnist)


def _write_for_torchvision(dataset: Dataset, folder: Path) -> None:
    """Write the IDX files that torchvision reads."""
    folder.mkdir(parents=True)
    for name, part in (("train", dataset.train), ("t10k", dataset.test)):
        for kind, values in (
            (f"{name}-images-idx3-ubyte", part.images.squeeze(1)),
            (f"{name}-labels-idx1-ubyte", part.labels),
        ):
            header = bytes([0, 0, 8, values.dim()]) + b"".join(length.to_bytes(4, "big") for length in values.shape)
            (folder / kind).write_bytes(header + values.to(torch.uint8).numpy().tobytes())


def _tutorial_loaders(root: str, batch_size: int) -> tuple[DataLoader[Any], DataLoader[Any]]:
    transform = transforms.Compose(
        [
            transforms.Resize((28, 28)),
            transforms.Grayscale(),
            transforms.ToTensor(),
            transforms.Normalize((0,), (1,)),
        ]
    )
    mnist_train = datasets.MNIST(root, train=True, transform=transform)
    mnist_test = datasets.MNIST(root, train=False, transform=transform)
    train_loader = DataLoader(mnist_train, batch_size=batch_size, shuffle=True, drop_last=True)
    test_loader = DataLoader(mnist_test, batch_size=batch_size, shuffle=True, drop_last=True)
    return train_loader, test_loader


def _tutorial_epoch(net: nn.Module, train_loader: DataLoader[Any], test_loader: DataLoader[Any], task: Task) -> int:
    """Run the tutorial's training loop; returns the number of its iterations."""
    batch_size, num_steps = task.batch_size, task.num_steps
    loss = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=task.learning_rate, betas=ADAM_BETAS)
    loss_hist = []
    test_loss_hist = []
    counter = 0
    for data, targets in iter(train_loader):
        net.train()
        _, mem_rec = net(data.view(batch_size, -1))
        loss_val = torch.zeros(1)
        for step in range(num_steps):
            loss_val += loss(mem_rec[step], targets)
        optimizer.zero_grad()
        loss_val.backward()
        optimizer.step()
        loss_hist.append(loss_val.item())

        with torch.no_grad():
            net.eval()
            test_data, test_targets = next(iter(test_loader))
            _, test_mem = net(test_data.view(batch_size, -1))
            test_loss = torch.zeros(1)
            for step in range(num_steps):
                test_loss += loss(test_mem[step], test_targets)
            test_loss_hist.append(test_loss.item())
            if counter % 50 == 0:
                _tutorial_printer(net, counter, (loss_hist, data, targets), (test_loss_hist, test_data, test_targets))
            counter += 1
    return counter


def _tutorial_printer(net: nn.Module, counter: int, *sets: tuple[list[float], Tensor, Tensor]) -> None:
    for name, (loss_hist, data, targets) in zip(("Train", "Test"), sets, strict=True):
        output, _ = net(data.view(len(data), -1))
        _, idx = output.sum(dim=0).max(1)
        accuracy = (targets == idx).float().mean().item()
        print(f"Iteration {counter}: {name} set loss {loss_hist[counter]:.2f}, accuracy {accuracy * 100:.2f}%")


@torch.no_grad()
def _test_accuracy(spikes_of: Callable[[Tensor], Tensor], mnist: Path) -> float:
    data = load_dataset(mnist).test
    correct = sum(
        int((spikes_of(images).sum(0).argmax(1) == labels).sum()) for images, labels in batches_in_order(data, 500)
    )
    return correct / len(data.labels)
