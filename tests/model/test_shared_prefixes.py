"""What texts have in common at their beginning is read once."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.tiny import tiny_config
from twinlens.model.text import TextTransformer, encode_deduplicated

START, END = 62, 63


def tower(**changes: object) -> TextTransformer:
    config = replace(tiny_config().text_config, **changes)  # pyright: ignore[reportArgumentType]
    torch.manual_seed(0)
    made = TextTransformer(config, 8)
    made.init_weights()
    return made.eval()


def rows(*texts: list[int]) -> Tensor:
    padded = [[START, *text, END] + [0] * (10 - len(text)) for text in texts]
    return torch.tensor(padded)


SENTENCES = rows([5, 6, 7], [5, 6, 8], [5, 6, 7], [], [5, 6], [9], [5, 6, 7, 7, 7, 7, 7, 7], [6, 5])


def test_what_stands_after_an_end_is_no_beginning_of_another_text():
    model, tokens = tower(), torch.tensor([[1, 5, 0, 0], [1, 5, 0, 7], [1, 0, 0, 5]])
    with torch.inference_mode():
        torch.testing.assert_close(encode_deduplicated(model, tokens.numpy(), 8), model(tokens))


def test_no_texts_have_no_features():
    with torch.inference_mode():
        assert encode_deduplicated(
            tower(), torch.zeros(0, 12, dtype=torch.long).numpy(), 8
        ).shape == (0, 8)


@pytest.mark.parametrize("group", [1, 3, 100])
@pytest.mark.parametrize(
    "changes",
    [{}, {"pooling": "end", "end_id": END}, {"causal": False}, {"pooling": "last"}],
)
def test_shared_or_not_the_features_are_the_same(changes: dict[str, object], group: int):
    model = tower(**changes)
    with torch.inference_mode():
        torch.testing.assert_close(
            encode_deduplicated(model, SENTENCES.numpy(), group), model(SENTENCES)
        )


def test_many_texts_of_few_words_share_exactly():
    generator = torch.Generator().manual_seed(1)
    texts = [
        torch.randint(1, 4, (int(length),), generator=generator).tolist()
        for length in torch.randint(0, 11, (200,), generator=generator)
    ]
    tokens, model = rows(*texts), tower()
    with torch.inference_mode():
        torch.testing.assert_close(encode_deduplicated(model, tokens.numpy(), 50), model(tokens))


def test_equal_texts_are_computed_once(monkeypatch: pytest.MonkeyPatch):
    model = tower()
    read, seen = model.forward_prefixes, []

    def watched(prefixes):
        seen.append(len(prefixes.end_positions))
        return read(prefixes)

    monkeypatch.setattr(model, "forward_prefixes", watched)
    with torch.inference_mode():
        features = encode_deduplicated(model, SENTENCES.repeat(5, 1).numpy(), 100)
    assert seen == [7]
    torch.testing.assert_close(features[8:16], features[:8], rtol=0, atol=0)
