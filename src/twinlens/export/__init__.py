"""Export models for runtimes and other libraries, and check that the outputs agree."""
