"""Text to token ids: cleaning, CLIP's byte-level BPE, and SentencePiece vocabularies."""
