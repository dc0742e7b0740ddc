"""Training: backpropagation through time with a surrogate gradient."""
