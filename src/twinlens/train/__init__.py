"""Training: the task, the optimiser, checkpoints, the loop and the recipes."""
