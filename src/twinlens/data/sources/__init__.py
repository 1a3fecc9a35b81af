"""What a data set is read from: folders, tables, built-in sets, the Hugging Face hub, URLs."""
