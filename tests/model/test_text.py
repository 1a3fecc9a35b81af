"""The text tower: texts of like length together."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.tiny import tiny_clip, tiny_config
from twinlens.model.text import TextTransformer, encode_sorted_by_length


def texts(count: int, length: int = 12) -> Tensor:
    """Texts of 2 to `length` tokens in no order: start 62, words, end 63, zeros."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 60, (count, length), generator=generator)
    ends = torch.randint(1, length, (count,), generator=generator).tolist()
    for row, end in zip(tokens, ends, strict=True):
        row[0], row[end], row[end + 1 :] = 62, 63, 0
    return tokens


def tower(**changes: object) -> TextTransformer:
    config = tiny_config().text_config
    torch.manual_seed(0)
    made = TextTransformer(replace(config, **changes), 8)  # pyright: ignore[reportArgumentType]
    made.init_weights()
    return made


@pytest.mark.parametrize(
    "changes", [{}, {"causal": False}, {"pooling": "last"}, {"pooling": "end", "end_id": 63}]
)
def test_texts_in_groups_of_one_length_are_encoded_exactly(changes: dict[str, object]):
    model, tokens = tower(**changes), texts(50)
    torch.testing.assert_close(encode_sorted_by_length(model, tokens, 16), model(tokens))


def test_a_group_is_of_like_length_and_no_longer_than_its_texts(monkeypatch: pytest.MonkeyPatch):
    seen: list[tuple[int, int]] = []
    model, tokens = tiny_clip().text_tower, texts(50)
    embed = model._embed

    def watched(tokens: Tensor) -> Tensor:
        seen.append((tokens.shape[0], tokens.shape[1]))
        return embed(tokens)

    monkeypatch.setattr(model, "_embed", watched)
    encode_sorted_by_length(model, tokens, 16)
    lengths = sorted(((tokens > 0).sum(dim=1)).tolist())
    assert seen == [(16, lengths[15]), (16, lengths[31]), (16, lengths[47]), (2, lengths[49])]
    assert lengths[15] < lengths[31] < lengths[47]


@pytest.mark.parametrize("changes", [{}, {"causal": False}, {"pooling": "end", "end_id": 63}])
def test_a_whole_context_gives_what_a_cut_one_does(changes: dict[str, object]):
    model, tokens = tower(**changes), texts(20)
    tokens[:, 6:] = 0
    tokens[:, 5] = 63
    torch.testing.assert_close(model.forward_full_context(tokens), model(tokens))
