"""A network from a snnTorch `state_dict`, saved as .safetensors, or by `torch.save`."""

import io
import math
import pickle
import re
import zipfile
from collections.abc import Mapping
from typing import NamedTuple

import safetensors
import snntorch
import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from lifline.data.info import DatasetInfo
from lifline.errors import ModelError
from lifline.imports.assembly import ReadLayer, assemble
from lifline.imports.limits import MAX_FILE, MAX_VALUES, in_a_line, shortened
from lifline.layers import Dense, HiddenLayer, LayersError, parse_layers
from lifline.models.model import Model
from lifline.params import NetworkParams

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
PROJECTION = {"weight", "bias"}
NEURON = {"beta", "threshold", "graded_spikes_factor", "reset_mechanism_val"}
RESET_BY_SUBTRACTION = 0
"""snnTorch's number of it."""

Modules = dict[str, dict[str, Tensor]]
"""The tensors of each module, by the module's name."""


class Part(NamedTuple):
    """A layer's tensors, under snnTorch's names."""

    name: str
    layer: HiddenLayer
    projection: dict[str, Tensor]
    neuron: dict[str, Tensor]


def read_state_dict(content: bytes, name: str, params: NetworkParams, dataset: DatasetInfo) -> Model:
    """Read what `torch.save(network.state_dict(), path)` or safetensors' `save_file` wrote, and run no code in it.

    The network has a `torch.nn.Linear` or `Conv2d` and a `snntorch.Leaky` for each layer, with `reset_delay=True`, as
    is snnTorch's default: a state dict does not tell.

    Args:
        content: of the file.
        name: how messages call it; its end tells the format.
        params: `layers` has the pooling, of which a state dict says nothing; the rest is not in it either, but for
            beta and threshold.
        dataset: of whose kind the images are.

    Raises:
        ModelError: the file is damaged or malicious, or is no such network.
    """
    layers = [
        ReadLayer(part.name, *part.layer, part.projection["weight"], part.projection.get("bias"), *_neuron(part, name))
        for part in parts_of(content, name, params, dataset)
    ]
    return assemble(layers, params, dataset, name)


def parts_of(content: bytes, name: str, params: NetworkParams, dataset: DatasetInfo) -> list[Part]:
    """Read a state dict's tensors, layer by layer; args and errors are those of `read_state_dict`."""
    modules, is_ordered = _modules_in(content, name)
    projections = {key: tensors for key, tensors in modules.items() if {"weight"} <= set(tensors) <= PROJECTION}
    neurons = {key: tensors for key, tensors in modules.items() if set(tensors) == NEURON}
    for key, tensors in modules.items():
        if key not in projections and key not in neurons:
            raise ModelError(
                f"{name}: {shortened(key)} holds {shortened(', '.join(sorted(tensors)))}; allowed are those of a "
                f"Linear or Conv2d (weight, bias) and of a snntorch.Leaky ({', '.join(sorted(NEURON))})"
            )
    if not is_ordered:
        projections, neurons = (_in_order(each, name) for each in (projections, neurons))
    made = [*_hidden_layers(params.layers), HiddenLayer(Dense(len(dataset.class_names)))]
    if not len(projections) == len(neurons) == len(made):
        raise ModelError(
            f"{name} has {len(projections)} projections and {len(neurons)} layers of neurons; allowed for "
            f"{params.layers}, with the output's, are {len(made)} of each"
        )
    return [Part(*part) for part in zip(projections, made, projections.values(), neurons.values(), strict=True)]


def modules_of(parts: list[Part]) -> list[nn.Module]:
    """Build the network in PyTorch's and snnTorch's modules, which load the tensors themselves."""
    modules: list[nn.Module] = []
    for part in parts:
        weight, bias = part.projection["weight"], part.projection.get("bias")
        if isinstance(part.layer.projection, Dense):
            modules.append(nn.Flatten())
            projection: nn.Module = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
        else:
            padding = part.layer.projection.padding
            rows, columns, kernel = weight.shape[:3]
            projection = nn.Conv2d(columns, rows, kernel, padding=padding, bias=bias is not None)
        neuron = snntorch.Leaky(part.neuron["beta"], part.neuron["threshold"])
        projection.load_state_dict(part.projection)
        neuron.load_state_dict(part.neuron)
        modules.append(projection)
        if pooling := part.layer.pooling:
            modules.append({"max": nn.MaxPool2d, "average": nn.AvgPool2d}[pooling.kind](pooling.size))
        modules.append(neuron)
    return modules


def _modules_in(content: bytes, name: str) -> tuple[Modules, bool]:
    """Return modules, and whether they are in the network's order."""
    is_ordered = not name.endswith(".safetensors")
    loaded = _unpickled(content, name) if is_ordered else _from_safetensors(content, name)
    if not isinstance(loaded, Mapping) or not loaded:
        raise ModelError(f"{name} holds no state dict")
    modules: Modules = {}
    num_values = 0
    for key, tensor in loaded.items():
        if not isinstance(key, str) or type(tensor) not in (Tensor, torch.nn.Parameter):
            raise ModelError(f"{name}: {shortened(str(key))} is no tensor; allowed is a state dict")
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu" or tensor.is_complex():
            raise ModelError(f"{name}: {shortened(key)} is a special tensor; allowed are dense ones")
        if tensor.is_floating_point() and tensor.dtype not in FLOATS:
            raise ModelError(f"{name}: {shortened(key)} is {tensor.dtype}; allowed are {', '.join(map(str, FLOATS))}")
        num_values += tensor.numel()
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes() or num_values > MAX_VALUES:
            raise ModelError(f"{name}: {shortened(key)} is {list(tensor.shape)}, more than the file holds")
        module, _, field = key.rpartition(".")
        modules.setdefault(module, {})[field] = tensor.detach()
    return modules, is_ordered


def _from_safetensors(content: bytes, name: str) -> object:
    try:
        return load_safetensors(content)
    except (safetensors.SafetensorError, ValueError, KeyError, RecursionError) as error:
        raise ModelError(f"{name} is no safetensors file, or damaged: {in_a_line(error)}") from None


def _unpickled(content: bytes, name: str) -> object:
    """Load tensors alone; what is packed so as to be larger than any network is not unpacked."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            if sum(entry.file_size for entry in packed.infolist()) > MAX_FILE:
                raise ModelError(f"{name} unpacks to more than {MAX_FILE:,} bytes")
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ModelError(
            f"{name} holds more than tensors; allowed is what torch.save(network.state_dict()) writes"
        ) from None
    except zipfile.BadZipFile:
        raise ModelError(f"{name} is damaged, or not a file of torch.save's") from None
    except ModelError:
        raise
    except Exception as error:  # PyTorch raises many kinds
        raise ModelError(f"{name} is damaged: {in_a_line(error)}") from None


def _in_order(modules: Modules, name: str) -> Modules:
    """Sort modules by the number in their names; `conv1` before `fc1`, since convolutions come first.

    Raises:
        ModelError: names do not tell the order.
    """
    ordered = []
    kinds: dict[bool, set[str]] = {}
    for key, tensors in modules.items():
        found = re.fullmatch(r"(.*?)([0-9]{1,9})", key)
        if found is None and len(modules) > 1:
            raise ModelError(
                f"{name}: {shortened(key)} has no number by which layers are in order, and safetensors keeps none; "
                "save it by torch.save, or number the layers, as fc1, fc2"
            )
        is_flat = "weight" in tensors and tensors["weight"].dim() == 2  # noqa: PLR2004
        kinds.setdefault(is_flat, set()).add(found[1] if found else "")
        ordered.append((is_flat, int(found[2]) if found else 0, key))
    if any(len(prefixes) > 1 for prefixes in kinds.values()):
        raise ModelError(f"{name}: names of its layers differ in more than a number, and safetensors keeps no order")
    return {key: modules[key] for _, _, key in sorted(ordered)}


def _hidden_layers(layers: str) -> list[HiddenLayer]:
    try:
        return parse_layers(layers)
    except LayersError as error:
        raise ModelError(f"--layers {error}") from None


def _neuron(part: Part, name: str) -> tuple[float, float]:
    """Return beta and threshold of neurons that are all alike, and reset as lifline's."""
    key, values = part.name, {}
    for field, tensor in part.neuron.items():
        different = tensor.double().unique().tolist()
        if len(different) != 1 or not math.isfinite(different[0]):
            raise ModelError(
                f"{name}: {field} differs between neurons behind {shortened(key)}; allowed is one for a layer"
            )
        values[field] = _as_written(tensor.flatten()[0])
    if values["reset_mechanism_val"] != RESET_BY_SUBTRACTION:
        raise ModelError(
            f"{name}: neurons behind {shortened(key)} are not reset by subtraction, which alone is allowed"
        )
    if values["graded_spikes_factor"] != 1:
        raise ModelError(f"{name}: spikes behind {shortened(key)} are {values['graded_spikes_factor']:g}; allowed is 1")
    return min(max(values["beta"], 0.0), 1.0), values["threshold"]  # as snnTorch clamps it


def _as_written(value: Tensor) -> float:
    """Return the shortest decimal that is this value in its type: 0.9 of a float32 is 0.9."""
    if not value.is_floating_point():
        return float(value.item())
    decimals = (float(f"{value.item():.{digits}g}") for digits in range(1, 18))
    return next(decimal for decimal in decimals if torch.tensor(decimal, dtype=torch.float64).to(value.dtype) == value)
