"""The fast LIF: the neuron's time loop compiled for a kind of device."""
