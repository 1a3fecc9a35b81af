"""Data: images, shards, data sets, the order they are read in, and the icon corpus."""
