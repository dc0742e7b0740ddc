"""lifline's speed beside that of the libraries a user would pick instead: `python -m benchmarks`."""
