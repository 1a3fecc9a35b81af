"""Models by name: in the package, on disk, or on the Hugging Face hub."""
