"""Training: the objective, the optimiser, checkpoints, the loop and the recipes."""
