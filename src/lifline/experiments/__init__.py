"""A training as commands run it: shown while it runs, tracked, and able to go on where it was killed."""
