"""Planning a training run before it starts: FLOPs, memory, time and cost."""
