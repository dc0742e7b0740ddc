"""lifline: a reproducible, tracked and tuned pipeline for spiking neural networks."""
