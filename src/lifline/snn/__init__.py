"""The spiking network: neuron, surrogate gradients, losses and decodings."""

from lifline.snn.decoding import decode
from lifline.snn.lif import lif
from lifline.snn.network import Record, SpikingNetwork

__all__ = ["Record", "SpikingNetwork", "decode", "lif"]
