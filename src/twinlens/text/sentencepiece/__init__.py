"""SentencePiece vocabularies: those of SigLIP, T5, Gemma and XLM.

`tokenizer.py` holds `SentencePieceTokenizer` and finds a directory's files, `settings.py` reads
the tokenizer's configuration files, `engines.py` encodes texts, `normalizer.py` and
`model_file.py` read SentencePiece's own format.
"""

from twinlens.text.sentencepiece.settings import read_text_cleaning
from twinlens.text.sentencepiece.tokenizer import SentencePieceTokenizer

__all__ = ["SentencePieceTokenizer", "read_text_cleaning"]
