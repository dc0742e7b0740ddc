"""A network from params, to a file and back, and over a data set."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError
from torch import Tensor

from lifline.data.batches import batches_in_order
from lifline.data.datasets import Dataset
from lifline.data.images import LabelledImages
from lifline.errors import ModelError
from lifline.data.tensor_file import DamagedError, pack, unpack
from lifline.params import NetworkParams
from lifline.snn.network import Record, SpikingNetwork
from lifline.snn.neuron import Lif
from lifline.system.files import write_bytes

BATCH_SIZE = 500
"""Images at once where nothing is learned."""


class Model(NamedTuple):
    """A trained network, and what else its file holds."""

    network: SpikingNetwork
    params: NetworkParams
    """With which it was trained."""

    class_names: tuple[str, ...]


class _Header(BaseModel):
    """What a model file says of its weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: NetworkParams
    input_shape: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    class_names: Annotated[tuple[str, ...], Field(min_length=1)]


def new_network(params: NetworkParams, dataset: Dataset, seed: int) -> SpikingNetwork:
    """Make an untrained network for the images of a data set."""
    return _build(params, dataset.shape, len(dataset.class_names), seed)


def save_model(model: Model, path: Path) -> None:
    """Write a model; equal models give equal bytes."""
    write_bytes(path, model_bytes(model))


def model_bytes(model: Model) -> bytes:
    """Return what a model's file holds."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.network.state_dict().items()}
    header = _Header(network=model.params, input_shape=model.network.input_shape, class_names=model.class_names)
    return pack(weights, header.model_dump(mode="json"))


def load_model(path: Path) -> Model:
    """Rebuild a network from its file alone.

    Raises:
        ModelError: the file is missing, damaged, or not a model of lifline's.
    """
    try:
        weights, header = unpack(path)
        described = _Header.model_validate(header)
        network = _with_weights(described, weights)
    except FileNotFoundError:
        raise ModelError(f"{path} is missing; `dvc repro train` makes it") from None
    except (DamagedError, RuntimeError) as error:
        raise ModelError(f"{path} is damaged: {error}") from None
    except ValidationError:
        raise ModelError(f"{path} is not a model of lifline's: its header has no params that are allowed") from None
    return Model(network.eval(), described.network, described.class_names)


def load_model_for(params: NetworkParams, path: Path) -> Model:
    """Rebuild a network that was trained with these params.

    Raises:
        ModelError: as `load_model`, or the network was trained with other params.
    """
    model = load_model(path)
    for name, asked in params:
        trained = getattr(model.params, name)
        if trained != asked:
            raise ModelError(
                f"{path} was trained with network.{name} {trained}, but params.yaml has {asked}; "
                "`dvc repro train` trains it anew"
            )
    return model


@torch.no_grad()
def run_over(
    network: SpikingNetwork, data: LabelledImages, num_steps: int | None = None
) -> Iterator[tuple[Record, Tensor]]:
    """Show a network every image once, in order; yields what it did with each batch, and the labels `[B]`."""
    for images, labels in batches_in_order(data, BATCH_SIZE):
        yield network(images, num_steps), labels


def _build(params: NetworkParams, input_shape: tuple[int, ...], num_classes: int, seed: int) -> SpikingNetwork:
    neuron = Lif(params.beta, params.threshold, params.surrogate, params.spike_delay)
    return SpikingNetwork(input_shape, params.hidden, num_classes, neuron, params.num_steps, seed, params.coding)


def _with_weights(header: _Header, weights: dict[str, Tensor]) -> SpikingNetwork:
    """Build the network without memory for weights of its own: a header may ask for any size."""
    with torch.device("meta"):
        network = _build(header.network, header.input_shape, len(header.class_names), seed=0)
    for name, weight in weights.items():
        if weight.dtype != torch.float32:
            raise DamagedError(f"{name} is {weight.dtype}, allowed is torch.float32")
    network.load_state_dict(weights, assign=True)
    return network
