"""Distributed training: the processes of a run and the collectives between them."""
