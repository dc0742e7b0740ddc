"""What other libraries make of a NIR file, beside the network that it was written of.

Each reads the file by itself: `nir.read`, then its own import; or, for snnTorch by hand, the few lines that
`docs/nir.md` shows.
"""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.metadata import version
from typing import Any, NamedTuple

import nir
import numpy as np
import snntorch
import torch
from snntorch.import_nir import import_from_nir
from torch import Tensor, nn

from lifline.choices import Decoding
from lifline.data.images import LabelledImages
from lifline.export.nir import DT
from lifline.export.proof import verdict
from lifline.models.model import run_over
from lifline.snn.decoding import decode
from lifline.snn.network import Record, SpikingNetwork

OUR_CONVENTION = "Leaky, reset by subtraction"
"""Of a reader whose neurons are the network's."""

Run = Callable[[Tensor, int | None], Record]
"""Shows a reader's network inputs, as `SpikingNetwork.respond` takes them; each time from a membrane of 0."""


class Reader(NamedTuple):
    """A library's way to read a NIR graph and run it."""

    name: str
    package: str
    convention: str
    build: Callable[[nir.NIRGraph], Run]


class ReaderComparison(NamedTuple):
    """How far a reader of a file and the network disagree over a set of images."""

    reader: Reader
    version: str
    images: int
    class_mismatches: int
    spike_count_mismatches: int
    """Images of which some output neuron fired more or less often."""

    refused: str = ""
    """Why the reader does not take the file; nothing was compared then."""

    def describe(self) -> str:
        """The comparison in a line."""
        name, package, convention, _ = self.reader
        if self.refused:
            return f"{name} ({package} {self.version}) does not read the file: {self.refused}"
        reader = f"{name} ({package} {self.version}, {convention})"
        counts = f"output spike counts differ on {self.spike_count_mismatches:,}"
        if convention != OUR_CONVENTION and self.spike_count_mismatches:
            counts += ", as expected of neurons that reset otherwise than the network's: see nir.md of lifline's docs"
        if self.class_mismatches:
            classes = f"{self.class_mismatches:,} of {self.images:,} images"
            return f"{reader} and the network differ in class on {classes}; {counts}"
        return f"equal classes on {self.images:,} images in {reader}; {counts}"

    def verdict(self) -> str:
        """What it proves, for a screen, where the reader's neurons are the network's."""
        where = f"with {self.reader.package} {self.version}'s neurons"
        if not self.spike_count_mismatches:
            return verdict(self.class_mismatches, self.images, where, "classes and spike counts")
        told = verdict(self.class_mismatches, self.images, where)
        return f"{told}; spike counts differ on {self.spike_count_mismatches:,}"


def snntorch_by_hand(graph: nir.NIRGraph) -> Run:
    """Build PyTorch's layers and snnTorch's neurons from the numbers of a graph that is a chain."""
    dt, following = float(graph.metadata.get("dt", DT)), dict(graph.edges)
    names = [*graph.inputs]
    while names[-1] in following:
        names.append(following[names[-1]])
    return run_of_modules([_module_of(graph.nodes[name], dt) for name in names[1:-1]])


def run_of_modules(modules: list[nn.Module]) -> Run:
    """Run modules one after another, step by step; those before the first neuron once, where all steps are alike."""
    first = next(place for place, module in enumerate(modules) if isinstance(module, snntorch.Leaky))

    @torch.no_grad()
    def run(inputs: Tensor, steps: int | None) -> Record:
        before, after = nn.Sequential(*modules[:first]), modules[first:]
        current = before(inputs) if steps else None
        memory: dict[int, Tensor] = {}
        outputs = []
        for step in range(steps or len(inputs)):
            signal = before(inputs[step]) if current is None else current
            for place, module in enumerate(after):
                if isinstance(module, snntorch.Leaky):
                    signal, memory[place] = module(signal, memory.get(place, torch.zeros_like(signal)))
                else:
                    signal = module(signal)
            outputs.append((signal, memory[len(after) - 1]))
        return _record(outputs)

    return run


def _module_of(node: nir.NIRNode, dt: float) -> nn.Module:
    if isinstance(node, nir.Flatten):
        return nn.Flatten()  # all axes of an image
    if isinstance(node, nir.SumPool2d | nir.AvgPool2d):
        size = int(np.ravel(node.kernel_size)[0])
        return nn.AvgPool2d(size, divisor_override=1 if isinstance(node, nir.SumPool2d) else None)
    if isinstance(node, nir.LIF):
        beta, gain = 1 - dt / node.tau.flat[0], node.r.flat[0] * dt / node.tau.flat[0]
        neuron: nn.Module = snntorch.Leaky(float(beta), float(node.v_threshold.flat[0] / gain))
        return neuron
    weight, bias = torch.from_numpy(node.weight).float(), torch.zeros(len(node.weight))
    if not isinstance(node, nir.Linear):
        bias = torch.from_numpy(node.bias).float()
    module: nn.Module = nn.Linear(weight.shape[1], weight.shape[0])
    if isinstance(node, nir.Conv2d):
        padding = 0 if isinstance(node.padding, str) else int(np.ravel(node.padding)[0])
        module = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], padding=padding)
    module.load_state_dict({"weight": weight, "bias": bias})
    return module if isinstance(node, nir.Conv2d) else nn.Sequential(nn.Flatten(), module)


def _snntorch_import(graph: nir.NIRGraph) -> Run:
    network = import_from_nir(graph)
    neurons = [module for module in network.modules() if isinstance(module, snntorch.Leaky)]

    @torch.no_grad()
    def run(inputs: Tensor, steps: int | None) -> Record:
        for neuron in neurons:
            neuron.reset_mem()
        outputs = []
        for shown in _each_step(inputs, steps):
            spikes, _ = network(shown, {})
            outputs.append((spikes, neurons[-1].mem))
        return _record(outputs)

    return run


def _norse_import(graph: nir.NIRGraph) -> Run:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch, about what Norse compiles
        import norse.torch  # noqa: PLC0415  # takes seconds
    network = norse.torch.from_nir(graph, dt=float(graph.metadata["dt"]))
    last = graph.edges[-1][0]

    @torch.no_grad()
    def run(inputs: Tensor, steps: int | None) -> Record:
        state, outputs = None, []
        for shown in _each_step(inputs, steps):
            spikes, state = network(shown, state)
            outputs.append((spikes, state.state[last][0].v))
        return _record(outputs)

    return run


READERS = (
    Reader("snnTorch by hand", "snntorch", OUR_CONVENTION, snntorch_by_hand),
    Reader("snnTorch's import_from_nir", "snntorch", "reset to zero, dt 1e-4", _snntorch_import),
    Reader("Norse's from_nir", "norse", "reset to zero, r taken as 1, dt of the file", _norse_import),
)


def compare_readers(
    content: bytes,
    network: SpikingNetwork,
    decoding: Decoding,
    data: LabelledImages,
    readers: tuple[Reader, ...] = READERS,
) -> list[ReaderComparison]:
    """Run a file of lifline's through each reader over all images, and the network beside it, on the CPU."""
    with _unlisted_neurons(), redirect_stdout(io.StringIO()):  # snnTorch prints
        return [_compare(content, reader, network, decoding, data) for reader in readers]


def compare_by_hand(run: Run, network: SpikingNetwork, decoding: Decoding, data: LabelledImages) -> ReaderComparison:
    """Compare a network of snnTorch's neurons, built by hand, with one that was read of the same file."""
    by_hand = READERS[0]
    return ReaderComparison(by_hand, version(by_hand.package), *differences(run, network, decoding, data))


def _compare(
    content: bytes, reader: Reader, network: SpikingNetwork, decoding: Decoding, data: LabelledImages
) -> ReaderComparison:
    told = (reader, version(reader.package))
    try:
        run = reader.build(nir.read(io.BytesIO(content)))
        found = differences(run, network, decoding, data)
    except Exception as error:  # whatever a library raises
        return ReaderComparison(*told, 0, 0, 0, " ".join(f"{type(error).__name__}: {error}".split()))
    return ReaderComparison(*told, *found)


def differences(run: Run, network: SpikingNetwork, decoding: Decoding, data: LabelledImages) -> tuple[int, int, int]:
    """Count images, those that are decided otherwise, and those whose output spike counts differ."""
    classes = counts = 0
    for images, inputs, expected, _ in run_over(network, data):
        steps = network.num_steps if network.coding == "constant" else None
        found = run(inputs, steps)
        assert found.spikes.shape == expected.spikes.shape, (found.spikes.shape, expected.spikes.shape, len(images))
        classes += int((decode(found, decoding) != decode(expected, decoding)).sum())
        counts += int((found.spikes.sum(0) != expected.spikes.sum(0)).any(1).sum())
    return len(data.labels), classes, counts


def _each_step(inputs: Tensor, steps: int | None) -> Iterator[Tensor]:
    return iter([inputs] * steps if steps else inputs)


def _record(outputs: list[tuple[Tensor, Tensor]]) -> Record:
    spikes, membrane = (torch.stack(each) for each in zip(*outputs, strict=True))
    return Record(spikes, membrane, [])


@contextmanager
def _unlisted_neurons() -> Iterator[None]:
    """Take out of snnTorch's list of all neurons, which keeps them for ever, those that the body makes."""
    listed: list[Any] = snntorch.SpikingNeuron.instances
    before = len(listed)
    try:
        yield
    finally:
        del listed[before:]
