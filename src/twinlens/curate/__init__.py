"""Data set construction: the open icon corpus."""
