"""What is raced, one module per library.

A contestant is a generator: each `next()` is one training step and gives its loss. Nothing is imported that another
library needs, so that each runs in a process of its own as its user's would.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class Contestant:
    """One way to train the network."""

    label: str
    """How tables name it."""

    target: str
    """`module:function` in this package; called with a `Task` and the path of the images."""

    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Variables of its process."""

    expected: str | None = "reference"
    """The contestant whose losses it must show, or None: its equations are its own."""


FUSED = {"LIFLINE_KERNELS": "fused"}
REFERENCE = {"LIFLINE_KERNELS": "reference"}

CONTESTANTS = {
    "lifline": Contestant("lifline", "lifline_network:train", FUSED),
    "reference": Contestant("lifline, reference", "lifline_network:train", REFERENCE),
    "tutorial": Contestant("snnTorch, tutorial", "snntorch_networks:train_tutorial"),
    "snntorch_hoisted": Contestant("snnTorch, hoisted", "snntorch_networks:train_hoisted"),
    "spikingjelly": Contestant("SpikingJelly", "spikingjelly_networks:train", expected="soft_reset"),
    "spikingjelly_hoisted": Contestant(
        "SpikingJelly, hoisted", "spikingjelly_networks:train_hoisted", expected="soft_reset"
    ),
    "norse": Contestant("Norse", "norse_network:train", expected=None),
    "jax": Contestant("JAX/XLA, hoisted", "jax_network:train", {"JAX_PLATFORMS": "cpu"}),
    "floor": Contestant("floor, readout included", "floor:with_readout", expected=None),
    "floor_fused": Contestant("floor, readout left out", "floor:without_readout", expected=None),
}
SOFT_RESET = Contestant("SpikingJelly's equations in plain PyTorch", "spikingjelly_networks:train_plain")
"""Not raced: shows what SpikingJelly's networks compute."""
