"""lifline: a reproducible, tracked and tuned pipeline for spiking neural networks."""

from lifline.system.environment import settle

settle()  # the one thing that happens at import: it must come before the libraries that it speaks to
