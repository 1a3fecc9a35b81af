"""What can be asked of a model on a data set: a module a task, each with a `measure`."""
