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

    tolerance: float = 1e-3
    """Largest relative difference of losses that are the same: by rounding a membrane at the threshold fires or not."""

    limit_seconds: float | None = None
    """Until its first steps are done; one that has a limit may also fail, and the table says so."""


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
MEMORY_KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(1 << 28)}
"""What is freed stays with the process, as `out=` has it, which convolutions lack."""

NETWORK_CONTESTANTS = {
    "lifline": CONTESTANTS["lifline"],
    "reference": CONTESTANTS["reference"],
    "bf16": Contestant("lifline, bf16", "lifline_network:train_bf16", FUSED, tolerance=0.1),
    "tutorial": CONTESTANTS["tutorial"],
    "compiled": Contestant(
        "snnTorch, torch.compile",
        "snntorch_networks:train_compiled",
        {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"},  # or a second race would find what the first compiled
        limit_seconds=120,
    ),
    "spikingjelly": CONTESTANTS["spikingjelly"],
    "norse": CONTESTANTS["norse"],
    "spyx": Contestant("Spyx", "spyx_network:train", {"JAX_PLATFORMS": "cpu"}, expected=None),
    "floor": Contestant("floor", "floor:with_readout", MEMORY_KEPT, expected=None),
}
"""Of other networks than tutorial 5's."""

SOFT_RESET = Contestant("SpikingJelly's equations in plain PyTorch", "spikingjelly_networks:train_plain")
"""Not raced: shows what SpikingJelly's networks compute."""
