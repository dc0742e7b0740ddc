"""A trained network as one file: its weights in safetensors, its params in the header."""

import json
from pathlib import Path

import safetensors
from pydantic import ValidationError
from safetensors.torch import save

from lifline.data.published import CLASS_NAMES, NUM_PIXELS
from lifline.errors import ModelError
from lifline.params import NetworkParams
from lifline.snn.network import SpikingNetwork
from lifline.system.files import write_bytes

HEADER = "network"


def new_network(params: NetworkParams, seed: int) -> SpikingNetwork:
    """An untrained network for MNIST."""
    neuron = params.model_dump(exclude={"decoding"})
    return SpikingNetwork(num_inputs=NUM_PIXELS, num_classes=len(CLASS_NAMES), seed=seed, **neuron)


def save_network(network: SpikingNetwork, params: NetworkParams, path: Path) -> None:
    """Write a network and its params; equal networks give equal bytes."""
    write_bytes(path, network_bytes(network, params))


def network_bytes(network: SpikingNetwork, params: NetworkParams) -> bytes:
    """What a network's file holds."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    header = {HEADER: json.dumps(params.model_dump(), sort_keys=True)}
    return save(weights, metadata=header)


def load_network(path: Path) -> tuple[SpikingNetwork, NetworkParams]:
    """Rebuild a network from its file alone.

    Raises:
        ModelError: the file is missing, damaged, or not a network of lifline's.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            params = NetworkParams.model_validate_json((file.metadata() or {}).get(HEADER, ""))
            network = new_network(params, seed=0)
            network.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except FileNotFoundError:
        raise ModelError(f"{path} is missing; `dvc repro train` makes it") from None
    except (safetensors.SafetensorError, RuntimeError) as error:
        raise ModelError(f"{path} is damaged: {error}") from None
    except ValidationError:
        raise ModelError(f"{path} is not a network of lifline's: its header has no params that are allowed") from None
    return network.eval(), params


def load_network_for(params: NetworkParams, path: Path) -> SpikingNetwork:
    """Rebuild a network that was trained with these params.

    Raises:
        ModelError: as `load_network`, or the network was trained with other params.
    """
    network, trained_with = load_network(path)
    for name, asked in params:
        trained = getattr(trained_with, name)
        if trained != asked:
            raise ModelError(
                f"{path} was trained with network.{name} {trained}, but params.yaml has {asked}; "
                "`dvc repro train` trains it anew"
            )
    return network
