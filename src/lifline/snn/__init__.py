"""The spiking network: neuron, surrogate gradients, losses and decodings."""

from lifline.snn.decoding import decode
from lifline.snn.lif import lif, lif_linear
from lifline.snn.network import Record, SpikingNetwork
from lifline.snn.neuron import Lif

__all__ = ["Lif", "Record", "SpikingNetwork", "decode", "lif", "lif_linear"]
