"""Ways out for a trained network, each proven against it."""
