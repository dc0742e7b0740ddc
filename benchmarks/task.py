"""What every contestant computes: the network, its first weights, and the images it sees."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

IMAGE_SHAPE = (1, 28, 28)
NUM_INPUTS = 784
NUM_CLASSES = 10
ADAM_BETAS = (0.9, 0.999)

Batch = tuple[np.ndarray, np.ndarray]
"""Images, float32 `[B, 784]` in [0, 1], and labels, int64 `[B]`."""


@dataclass(frozen=True)
class Task:
    """A network and how it learns; by default that of snnTorch's tutorial 5."""

    num_steps: int = 25
    batch_size: int = 128
    hidden: int = 1000
    beta: float = 0.95
    learning_rate: float = 5e-4

    def weights(self) -> dict[str, np.ndarray]:
        """Draw the first weights, the same for every contestant, from the distribution of `torch.nn.Linear`."""
        generator = np.random.default_rng(seed=0)
        sizes = {"fc1": (self.hidden, NUM_INPUTS), "fc2": (NUM_CLASSES, self.hidden)}
        weights = {}
        for layer, (num_outputs, num_inputs) in sizes.items():
            bound = num_inputs**-0.5
            weights[f"{layer}.weight"] = generator.uniform(-bound, bound, (num_outputs, num_inputs)).astype(np.float32)
            weights[f"{layer}.bias"] = generator.uniform(-bound, bound, num_outputs).astype(np.float32)
        return weights

    def batches(self, data: Path) -> list[Batch]:
        """Return whole batches of the images and labels in an `.npz` file, in order."""
        with np.load(data) as arrays:
            images, labels = arrays["images"], arrays["labels"]
        starts = range(0, len(labels) - self.batch_size + 1, self.batch_size)
        return [(images[i : i + self.batch_size], labels[i : i + self.batch_size]) for i in starts]
