"""Small SentencePiece vocabularies, trained where they are needed: the real ones are too large."""

import io
import random
from functools import cache
from typing import Any

import sentencepiece

from tests.strange_texts import WORDS, strange_text

_SYLLABLES = "ka to mi re an st ing er on qu é ü от при 日 本 語 한 글 का ना th sh o a e 1 23"
SYLLABLES = _SYLLABLES.split()
T5 = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
GEMMA = {
    "pad_id": 0,
    "eos_id": 1,
    "eos_piece": "<eos>",
    "bos_id": 2,
    "bos_piece": "<bos>",
    "unk_id": 3,
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
    "add_dummy_prefix": False,
    "split_digits": True,
    "allow_whitespace_only_pieces": True,
    "byte_fallback": True,
}
DEFINED = [
    "<mask>", "[toxicity=0]", "<unused0>", "\n", "\n\n", "▁▁", "▁▁▁", "<table>", "photo",
    "<unk>photo",
]  # fmt: skip

KINDS: dict[str, dict[str, Any]] = {
    "t5": {"model_type": "unigram", "vocab_size": 700, **T5},
    "t5 bytes": {"model_type": "unigram", "vocab_size": 900, "byte_fallback": True, **T5},
    "t5 defined": {
        "model_type": "unigram",
        "vocab_size": 700,
        "user_defined_symbols": DEFINED,
        **T5,
    },
    "case folded": {
        "model_type": "unigram",
        "vocab_size": 500,
        "normalization_rule_name": "nfkc_cf",
    },
    "kept spaces": {"model_type": "unigram", "vocab_size": 500, "remove_extra_whitespaces": False},
    "bpe": {"model_type": "bpe", "vocab_size": 800, **T5},
    "gemma": {"model_type": "bpe", "vocab_size": 1000, "user_defined_symbols": DEFINED, **GEMMA},
    "gemma plain": {"model_type": "bpe", "vocab_size": 1000, **GEMMA},
}


@cache
def corpus() -> list[str]:
    rng = random.Random(1)
    words = ["".join(rng.choices(SYLLABLES, k=rng.randint(1, 4))) for _ in range(3000)]
    words += WORDS.split() * 20
    texts = [" ".join(rng.choices(words, k=rng.randint(3, 10))) for _ in range(4000)]
    odd = (strange_text(rng) for _ in range(100))
    return texts + ["".join(c for c in text if c not in "\n\0") for text in odd]


@cache
def trained(kind: str) -> bytes:
    """The bytes of a model file."""
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()),
        model_writer=file,
        num_threads=1,
        minloglevel=2,
        character_coverage=0.99,
        **KINDS[kind],
    )
    return file.getvalue()


@cache
def reference(kind: str) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=trained(kind))


ODD = [
    "", " ", "  ", "\n", "\n\n\n", "▁", "▁▁ a ▁", " a  b ", "\u200b", " \u3000 x", "</s>",
    "a<unk>b",    "<pad> </s>", "<0x41>", "<mask>x<mask>", " <mask> ", "<table><table>", "aaaa" * 9,
    "photophoto", "ㅎㅏㄴ ㄱㅡㄹ", "かﾞ", "e\u0301\u0323", "\u00b4", "\x00", "a\u0300\u0301",
]  # fmt: skip


def strange_texts(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return ODD + [strange_text(rng) for _ in range(count)]
