"""Losses of a batch of pairs: dense, in tiles, or distributed over ranks."""
