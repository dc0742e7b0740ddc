"""What every contestant computes: the network, its first weights, and the images it sees."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifline.choices import LossName, SurrogateName
from lifline.layers import Convolution, Dense, HiddenLayer, Shapes, describe_network, parse_layers, shapes_of

IMAGE_SHAPE = (1, 28, 28)
NUM_INPUTS = 784
NUM_CLASSES = 10
ADAM_BETAS = (0.9, 0.999)

Batch = tuple[np.ndarray, np.ndarray]
"""Images, float32 `[B, *input_shape]` in [0, 1], and labels, int64 `[B]`."""


class TaskLayer(NamedTuple):
    """A layer of the network, the output's among them."""

    name: str
    """As the field names it: `conv1`, `conv2`, `fc1`."""

    layer: HiddenLayer
    input_shape: tuple[int, ...]
    shapes: Shapes

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """`[N, inputs]`, or `[C, channels, kernel, kernel]`."""
        projection = self.layer.projection
        if isinstance(projection, Convolution):
            return projection.num_filters, self.input_shape[0], projection.kernel, projection.kernel
        return projection.num_neurons, math.prod(self.input_shape)


@dataclass(frozen=True)
class Task:
    """A network and how it learns; by default that of snnTorch's tutorial 5."""

    layers: str = "1000"
    """The hidden ones, as the field writes them."""

    num_steps: int = 25
    batch_size: int = 128
    beta: float = 0.95
    surrogate: SurrogateName = "atan"
    learning_rate: float = 5e-4
    loss: LossName = "membrane_ce"

    @property
    def is_dense(self) -> bool:
        """Whether no layer is a convolution."""
        return all(isinstance(layer.projection, Dense) for layer in parse_layers(self.layers))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of an image: pixels in a row where all layers are dense."""
        return (NUM_INPUTS,) if self.is_dense else IMAGE_SHAPE

    def network_layers(self) -> list[TaskLayer]:
        """Return the layers, the output's last."""
        layers = [*parse_layers(self.layers), HiddenLayer(Dense(NUM_CLASSES))]
        shapes = [*shapes_of(self.layers, self.input_shape), Shapes((NUM_CLASSES,), (NUM_CLASSES,))]
        seen = [self.input_shape, *(each.neurons for each in shapes)]
        counts = {"conv": 0, "fc": 0}
        named = []
        for layer, input_shape, each in zip(layers, seen, shapes, strict=False):
            kind = "conv" if isinstance(layer.projection, Convolution) else "fc"
            counts[kind] += 1
            named.append(TaskLayer(f"{kind}{counts[kind]}", layer, input_shape, each))
        return named

    def describe(self) -> str:
        """Say it in a line, for a title."""
        network = describe_network(self.layers, IMAGE_SHAPE, NUM_CLASSES)
        return f"batch {self.batch_size}, {network}, T = {self.num_steps}"

    def weights(self) -> dict[str, np.ndarray]:
        """Draw the first weights, the same for every contestant, from the distribution of PyTorch's modules."""
        generator = np.random.default_rng(seed=0)
        weights = {}
        for layer in self.network_layers():
            shape = layer.weight_shape
            bound = math.prod(shape[1:]) ** -0.5
            weights[f"{layer.name}.weight"] = generator.uniform(-bound, bound, shape).astype(np.float32)
            weights[f"{layer.name}.bias"] = generator.uniform(-bound, bound, shape[0]).astype(np.float32)
        return weights

    def batches(self, data: Path) -> list[Batch]:
        """Return whole batches of the images and labels in an `.npz` file, in order."""
        with np.load(data) as arrays:
            images, labels = arrays["images"].reshape(-1, *self.input_shape), arrays["labels"]
        starts = range(0, len(labels) - self.batch_size + 1, self.batch_size)
        return [(images[i : i + self.batch_size], labels[i : i + self.batch_size]) for i in starts]
