"""What a run will take, before anything runs: operations, memory, time, cost."""
