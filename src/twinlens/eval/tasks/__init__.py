"""The evaluation tasks: a module each, with a function `evaluate_*`."""
