"""The model: both towers, the losses, the presets and the precisions."""
