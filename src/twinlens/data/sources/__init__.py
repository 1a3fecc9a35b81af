"""The sources of data sets: folders, tables, built-in sets, the Hugging Face hub, URLs."""
