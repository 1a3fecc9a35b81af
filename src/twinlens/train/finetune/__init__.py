"""Fine-tuning: what a run starts from, locked layers, adapters, interpolated weights."""
