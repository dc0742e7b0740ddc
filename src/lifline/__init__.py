"""lifline: a reproducible, tracked and tuned pipeline for spiking neural networks."""

from lifline.system.environment import THREADS, settle

settle(THREADS)  # before PyTorch is imported, which reads it then
