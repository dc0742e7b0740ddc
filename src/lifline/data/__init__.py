"""MNIST: where it comes from, whether it is intact, and how it becomes batches."""
