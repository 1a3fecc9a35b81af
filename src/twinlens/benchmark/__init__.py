"""Speed and memory of this library and of others with the same model."""
