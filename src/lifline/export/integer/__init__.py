"""The integer network: a trained network in whole numbers, its specification in NumPy, and as C that equals it."""
