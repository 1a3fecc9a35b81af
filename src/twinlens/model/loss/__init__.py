"""The losses of a batch of pairs: dense, in tiles, or over the ranks of a run."""
