"""The parameters of a neuron, as a value."""

from dataclasses import dataclass
from numbers import Real

from torch import Tensor

from lifline.choices import SurrogateName


@dataclass(frozen=True)
class Lif:
    """A leaky integrate-and-fire neuron: the arguments of `lif` that stay the same from step to step.

    Raises:
        ValueError: beta or threshold is neither a number nor a tensor. Which of them are allowed, `lif` says.
    """

    beta: float
    """Membrane decay per step, from 0 to 1."""

    threshold: float = 1.0
    """Membrane above which it fires; subtracted when it has."""

    surrogate: SurrogateName = "atan"
    """What stands for the derivative of a spike in the backward pass."""

    spike_delay: int = 0
    """Steps by which a spike leaves late, 0 or 1."""

    def __post_init__(self) -> None:
        for name in ("beta", "threshold"):
            if not isinstance(value := getattr(self, name), Real | Tensor):
                raise ValueError(
                    f"{name} is a {type(value).__name__}; allowed are a number and a tensor. For layers that differ a "
                    "network takes a list of Lif"
                )
