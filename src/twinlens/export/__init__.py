"""Models out of twinlens, and the proof that they still answer the same."""
