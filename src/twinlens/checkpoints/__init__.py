"""Checkpoints of every family: recognised, read into a model, and written."""
