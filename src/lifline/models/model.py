"""A network from params, to a file and back, and over a data set."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from lifline.data.batches import batches_in_order
from lifline.data.images import LabelledImages
from lifline.data.info import DatasetInfo
from lifline.data.tensor_file import DamagedError, pack, unpack
from lifline.errors import ModelError, ParamsError
from lifline.layers import LayersError, shapes_of
from lifline.params import NetworkParams
from lifline.snn.network import Record, SpikingNetwork
from lifline.snn.neuron import Lif
from lifline.system.files import write_bytes

BATCH_SIZE = 500
"""Images at once where nothing is learned, at most."""

MAX_VALUES = 50_000_000
"""Of a layer over all steps then."""

CODING_SEED = 0
"""Draws the spikes of images that are only looked at, so that networks are compared on the same ones."""


class Model(NamedTuple):
    """A trained network, and what else its file holds."""

    network: SpikingNetwork
    params: NetworkParams
    """With which it was trained."""

    dataset: DatasetInfo
    """Of whose kind the images are that it sees."""


class _Header(BaseModel):
    """What a model file says of its weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: NetworkParams
    dataset: DatasetInfo


def new_network(params: NetworkParams, dataset: DatasetInfo, seed: int) -> SpikingNetwork:
    """Make an untrained network for the images of a data set.

    Raises:
        ParamsError: the layers do not fit the images.
    """
    try:
        shapes_of(params.layers, dataset.shape)
    except LayersError as error:
        raise ParamsError(f"network.layers {error}") from None
    return _build(params, dataset, seed)


def save_model(model: Model, path: Path) -> None:
    """Write a model; equal models give equal bytes."""
    write_bytes(path, model_bytes(model))


def model_bytes(model: Model) -> bytes:
    """Return what a model's file holds."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.network.state_dict().items()}
    header = _Header(network=model.params, dataset=model.dataset)
    return pack(weights, header.model_dump(mode="json"))


def load_model(path: Path) -> Model:
    """Rebuild a network from its file alone; it learns no more.

    Raises:
        ModelError: the file is missing, damaged, or not a model of lifline's.
    """
    try:
        weights, header, _ = unpack(path)
        described = _Header.model_validate(header)
        network = _with_weights(described, weights)
    except FileNotFoundError:
        raise ModelError(f"{path} is missing; `dvc repro train` makes it") from None
    except ValidationError:
        raise ModelError(
            f"{path} is not a model of this version of lifline: its header has no params that are allowed; "
            "`dvc repro train` trains one"
        ) from None
    except (DamagedError, RuntimeError, ValueError) as error:
        raise ModelError(f"{path} is damaged: {error}") from None
    return Model(network.eval().requires_grad_(False), described.network, described.dataset)


def load_model_for(params: NetworkParams, dataset: DatasetInfo, path: Path) -> Model:
    """Rebuild a network that was trained with these params on such images.

    Raises:
        ModelError: as `load_model`, or the network was trained with other params, or on other images.
    """
    model = load_model(path)
    if model.dataset != dataset:
        raise ModelError(
            f"{path} was trained on {model.dataset.title}, but the images are now those of {dataset.title}, or others "
            "than then; `dvc repro train` trains it anew"
        )
    for name, asked in params:
        trained = getattr(model.params, name)
        if trained != asked:
            raise ModelError(
                f"{path} was trained with network.{name} {trained}, but params.yaml has {asked}; "
                "`dvc repro train` trains it anew"
            )
    return model


class Look(NamedTuple):
    """A network's look at a batch of images."""

    images: Tensor
    """`[B, C, H, W]`."""

    inputs: Tensor
    """What its first layer took: pixels `[B, C, H, W]`, or where images are coded as spikes, `[T, B, C, H, W]`."""

    record: Record

    labels: Tensor
    """`[B]`."""


@torch.no_grad()
def run_over(network: SpikingNetwork, data: LabelledImages, num_steps: int | None = None) -> Iterator[Look]:
    """Show a network every image once, in order; stopped after `num_steps`, it has seen the first of all its steps.

    Spikes of images that are coded by rate are the same ones on a repeat, and for every network of as many steps.
    """
    generator = torch.Generator(data.images.device).manual_seed(CODING_SEED)
    for images, labels in batches_in_order(data, images_at_once(network)):
        inputs, steps = network.encode(images, generator=generator)
        if steps is None:
            inputs = inputs[:num_steps]
        else:
            steps = num_steps or steps
        yield Look(images, inputs, network.respond(inputs, steps), labels)


def images_at_once(network: SpikingNetwork) -> int:
    """Return how many images a network looks at in one batch where it learns nothing."""
    shapes = [network.input_shape, *(layer.projected_shape for layer in network.layers)]
    num_values = max(map(math.prod, shapes)) * network.num_steps
    return max(1, min(BATCH_SIZE, MAX_VALUES // num_values))


def _build(params: NetworkParams, dataset: DatasetInfo, seed: int) -> SpikingNetwork:
    neurons = [
        Lif(beta, threshold, params.surrogate, params.spike_delay)
        for beta, threshold in zip(params.betas, params.thresholds, strict=True)
    ]
    return SpikingNetwork.from_layers(
        params.layers, dataset.shape, len(dataset.class_names), neurons, params.num_steps,
        seed, params.coding, params.learn_beta,
    )  # fmt: skip


def _with_weights(header: _Header, weights: dict[str, Tensor]) -> SpikingNetwork:
    """Build the network without memory for weights of its own: a header may ask for any size."""
    with torch.device("meta"):
        network = _build(header.network, header.dataset, seed=0)
    for name, weight in weights.items():
        if weight.dtype != torch.float32:
            raise DamagedError(f"{name} is {weight.dtype}, allowed is torch.float32")
    network.load_state_dict(weights, assign=True)
    return network
