"""WebDataset tars: written, indexed and read in place."""
