"""Data sets: as values, on disk, in memory, in batches, distorted."""
