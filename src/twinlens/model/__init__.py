"""The model: both towers, the loss, the presets and the weights on disk."""
