"""Vocabularies of SentencePiece's kind: those of SigLIP, T5, Gemma and XLM.

`tokenizer.py` holds `SentencePieceTokenizer` and finds a directory's files, `settings.py` reads
what is beside the vocabulary, `engines.py` makes ids of texts, `normalizer.py` and `model_file.py`
read SentencePiece's own format.
"""

from twinlens.text.sentencepiece.settings import read_text_cleaning
from twinlens.text.sentencepiece.tokenizer import SentencePieceTokenizer

__all__ = ["SentencePieceTokenizer", "read_text_cleaning"]
