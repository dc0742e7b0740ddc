"""The parameters of a neuron, as a value."""

from dataclasses import dataclass

from lifline.choices import SurrogateName


@dataclass(frozen=True)
class Lif:
    """A leaky integrate-and-fire neuron: the arguments of `lif` that stay the same from step to step."""

    beta: float
    """Membrane decay per step, from 0 to 1."""

    threshold: float = 1.0
    """Membrane above which it fires; subtracted when it has."""

    surrogate: SurrogateName = "atan"
    """What stands for the derivative of a spike in the backward pass."""

    spike_delay: int = 0
    """Steps by which a spike leaves late, 0 or 1."""
