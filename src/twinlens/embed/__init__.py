"""The embedder, data sets as embeddings, and linear probes on them."""
