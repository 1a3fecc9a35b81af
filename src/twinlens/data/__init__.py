"""Data sets: samples, sources, shards, splits, and the order and batches of training."""
