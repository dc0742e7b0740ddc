"""What a training tells after each epoch."""

from statistics import fmean
from typing import NamedTuple

from lifline.layers import layer_names


class EpochReport(NamedTuple):
    """What one pass over the training images did."""

    epoch: int
    """Counted from 1."""

    iteration: int
    """Optimizer steps so far, over all epochs."""

    losses: list[float]
    """The training loss at each iteration of the epoch."""

    train_accuracy: float
    """Share of the training images that were right when they were shown."""

    validation_loss: float
    validation_accuracy: float
    images_per_second: float
    """Training images over `seconds`."""

    seconds: float
    """Time in training, without validation."""

    steps_per_loss: int
    """Simulation steps over which a loss is summed: `num_steps` or 1."""

    betas: list[float]
    """Membrane decay of each layer after the epoch where it is learned; else empty."""

    def as_metrics(self) -> dict[str, dict[str, float]]:
        """The figures that do not depend on the clock, by part of the data."""
        return {
            "train": self._losses(fmean(self.losses)) | {"accuracy": self.train_accuracy},
            "validation": self._losses(self.validation_loss) | {"accuracy": self.validation_accuracy},
        } | ({"beta": dict(zip(layer_names(len(self.betas)), self.betas, strict=True))} if self.betas else {})

    def as_headline(self) -> dict[str, float]:
        """The few figures by which experiments are compared; no param has their names."""
        return {
            "train_loss": fmean(self.losses),
            "train_accuracy": self.train_accuracy,
            "validation_loss": self.validation_loss,
            "validation_accuracy": self.validation_accuracy,
        }

    def _losses(self, loss: float) -> dict[str, float]:
        """Losses at different numbers of steps compare only per step."""
        return {"loss": loss, "loss_per_step": loss / self.steps_per_loss}
