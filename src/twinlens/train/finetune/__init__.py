"""Fine-tuning: initial state, locked layers, adapters, weight interpolation."""
