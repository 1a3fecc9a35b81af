"""Models laid out to answer fast: packed for processors, compiled for GPUs."""
