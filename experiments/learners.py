"""Two other things to learn from captions than which belongs to which image (paper section 2.3).

Both have the image tower of the CLIP of the same size.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache

import regex
import torch
import torch.nn.functional as F
from common import CONTEXT_LENGTH, Objective
from jaxtyping import Float, Int64
from torch import Tensor, nn

from twinlens.config import CLIPConfig, ViTConfig
from twinlens.model.clip import build_image_tower
from twinlens.model.layers import MLP, Attention
from twinlens.model.vision import VisionTransformer
from twinlens.text.cleaning import clean_text
from twinlens.text.clip_bpe import Tokenizer

CANDIDATES = 48
"""Names an image whose whole likelihood is computed."""

LEAST_COUNT = 10
"""How often a word has to be in the training captions to be predicted."""


def words_of(text: str) -> list[str]:
    """The words of a text, lower case."""
    return regex.findall(r"[\p{L}\p{M}]+|\p{N}+", clean_text(text, "lower"))


def common_words(captions: Iterable[str]) -> list[str]:
    """Those that are there at least `LEAST_COUNT` times, in order of the alphabet."""
    counts = Counter(word for caption in captions for word in words_of(caption))
    return sorted(word for word, count in counts.items() if count >= LEAST_COUNT)


class Words(Objective):
    """Which words the caption has: softmax over words, each of the caption's as likely."""

    def __init__(self, config: CLIPConfig, words: Sequence[str]) -> None:
        super().__init__()
        assert config.vision is not None
        self.image_tower = build_image_tower(config.vision, config.embed_dim)
        self.image_tower.init_weights()
        self.places = {word: i for i, word in enumerate(words)}
        self.head = nn.Linear(config.embed_dim, len(words))
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def bags(self, texts: Sequence[str]) -> Float[Tensor, "text word"]:
        """Each text's words, all alike and together 1; nothing where none is known."""
        bags = torch.zeros(len(texts), len(self.places))
        for row, text in enumerate(texts):
            known = {self.places[word] for word in words_of(text) if word in self.places}
            bags[row, list(known)] = 1 / max(1, len(known))
        return bags

    def loss(self, images: Tensor, captions: Sequence[str], concepts: Tensor) -> Tensor:
        """Cross-entropy of the words of the caption."""
        del concepts
        return F.cross_entropy(self.head(self.image_tower(images)), self.bags(captions))

    def scores(
        self, images: Float[Tensor, "image 3 size size"], names: Sequence[str]
    ) -> Mapping[str, Float[Tensor, "image name"]]:
        """By the sum of the words' log-probabilities, by their mean, and by how much they rise.

        "lift" is the sum of log p(word | image) / p(word): what is said of every image counts
        for little. p(word) is the mean over the usual images.
        """
        bags = self.bags(names)
        counts = (bags > 0).sum(dim=1).clamp(min=1)
        said = self.log_probabilities(images)
        usual = self.log_probabilities(self.usual).logsumexp(dim=0) - math.log(len(self.usual))
        mean, lift = said @ bags.T, (said - usual) @ bags.T
        for scores in (mean, lift):
            scores[:, bags.sum(dim=1) == 0] = -torch.inf
        return {"sum": mean * counts, "mean": mean, "lift": lift * counts}

    def log_probabilities(
        self, images: Float[Tensor, "image 3 size size"]
    ) -> Float[Tensor, "image word"]:
        """Of each word."""
        return F.log_softmax(self.head(self.image_tower(images)), dim=1)


class CrossAttention(nn.Module):
    """Each position of a text asks all patches of its image."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self,
        x: Float[Tensor, "text length width"],
        seen: Float[Tensor, "image patch width"],
        of: Int64[Tensor, " text"],
    ) -> Float[Tensor, "text length width"]:
        """Text number `i` looks at image `of[i]`: the keys of an image are made once."""
        key, value = self.key_value(seen)[of].chunk(2, dim=2)
        split = [t.unflatten(2, (self.heads, -1)).transpose(1, 2) for t in (key, value)]
        query = self.query(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(query, *split)
        return self.out(mixed.transpose(1, 2).flatten(2))


class CaptionBlock(nn.Module):
    """A pre-norm block that looks back on its text, then at the image."""

    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.attention = Attention(width, heads, causal=True)
        self.cross = CrossAttention(width, heads)
        self.mlp = MLP(width, None, "quick_gelu")
        last = self.attention.out, self.cross.out, self.mlp.contract
        for linear in [module for module in self.modules() if isinstance(module, nn.Linear)]:
            damped = (3 * layers) ** -0.5 if linear in last else 1.0
            nn.init.normal_(linear.weight, std=damped * linear.in_features**-0.5)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, seen: Tensor, of: Tensor) -> Tensor:
        """As `CrossAttention.forward`."""
        before_attention, before_cross, before_mlp = self.norms
        x = x + self.attention(before_attention(x))
        x = x + self.cross(before_cross(x), seen, of)
        return x + self.mlp(before_mlp(x))


class Captions(Objective):
    """The caption token by token: a causal transformer with cross-attention on all patches."""

    chunk = 64

    def __init__(self, config: CLIPConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        assert isinstance(config.vision, ViTConfig)
        text = config.text_config
        vision = replace(config.vision, projection="none")
        self.image_tower = VisionTransformer(vision, vision.width)
        self.image_tower.init_weights()
        self.tokenizer = tokenizer
        self.to_text = nn.Linear(vision.width, text.width)
        self.embedding = nn.Embedding(text.vocab_size, text.width)
        self.positions = nn.Parameter(torch.empty(text.context_length, text.width))
        self.blocks = nn.ModuleList(
            CaptionBlock(text.width, text.heads, text.layers) for _ in range(text.layers)
        )
        self.final_norm = nn.LayerNorm(text.width)
        nn.init.normal_(self.embedding.weight, std=0.02)
        nn.init.normal_(self.positions, std=0.01)

    def see(self, images: Float[Tensor, "image 3 size size"]) -> Float[Tensor, "image patch width"]:
        """The class token and all patches, after the last block."""
        tower = self.image_tower
        places = tower.positional_embedding
        patches = tower.patch_embedding(images) + places[1:]
        first = (tower.class_embedding + places[0]).expand(len(images), 1, -1)
        x = tower.transformer(tower.pre_norm(torch.cat([first, patches], dim=1)))
        return self.to_text(tower.post_norm(x))

    def log_probabilities(
        self,
        seen: Float[Tensor, "image patch width"],
        tokens: Int64[Tensor, "text length"],
        of: Int64[Tensor, " text"],
    ) -> Float[Tensor, "text next"]:
        """Of each token after the first, given those before it and the image; 0 of padding."""
        x = self.embedding(tokens[:, :-1]) + self.positions[: tokens.shape[1] - 1]
        for block in self.blocks:
            x = block(x, seen, of)
        logits = self.final_norm(x) @ self.embedding.weight.T
        lengths = tokens.argmax(dim=1)  # the end token has the highest id
        inside = torch.arange(tokens.shape[1] - 1) < lengths[:, None]
        lost = F.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")
        return torch.where(inside, -lost, 0.0)

    def tokens(self, texts: Sequence[str]) -> Int64[Tensor, "text length"]:
        """Rows of ids, as wide as the longest."""
        rows = torch.from_numpy(self.tokenizer(texts, CONTEXT_LENGTH, truncate=True))
        return rows[:, : int(rows.argmax(dim=1).max()) + 1]

    def loss(self, images: Tensor, captions: Sequence[str], concepts: Tensor) -> Tensor:
        """Cross-entropy of the captions' tokens."""
        del concepts
        tokens = self.tokens(captions)
        said = self.log_probabilities(self.see(images), tokens, torch.arange(len(images)))
        return -said.sum() / tokens.argmax(dim=1).sum()

    def scores(
        self, images: Float[Tensor, "image 3 size size"], names: Sequence[str]
    ) -> Mapping[str, Float[Tensor, "image name"]]:
        """By the log-likelihood of the name, by that a token, and by how much it rises.

        "lift" is log p(name | image) / p(name), where p(name) is the mean over the usual
        images. Computed are, for each image, the `CANDIDATES` names of the likeliest first
        tokens, and as many of those that rise the most; the others are taken for wrong.
        """
        tokens, seen = self.tokens(names), self.see(images)
        usual, usual_first = self._usual(tuple(names))
        first = self.first_tokens(seen)[:, tokens[:, 1]]
        count = min(CANDIDATES, len(names))
        chosen = torch.cat(
            [first.topk(count).indices, (first - usual_first).topk(count).indices], dim=1
        )
        sums = torch.full_like(first, -torch.inf)
        of = torch.arange(len(images)).repeat_interleave(chosen.shape[1])
        sums[of, chosen.flatten()] = self.likelihoods(seen, tokens[chosen.flatten()], of)
        return {"sum": sums, "mean": sums / tokens.argmax(dim=1), "lift": sums - usual}

    @cache  # noqa: B019  # an objective lives as long as it is measured
    def _usual(self, names: tuple[str, ...]) -> tuple[Tensor, Tensor]:
        """Log-probabilities of names and of their first tokens, over the usual images."""
        tokens, seen = self.tokens(names), self.see(self.usual)
        of = torch.arange(len(seen)).repeat_interleave(len(tokens))
        whole = self.likelihoods(seen, tokens.repeat(len(seen), 1), of).view(len(seen), -1)
        first = self.first_tokens(seen)[:, tokens[:, 1]]
        mean = math.log(len(seen))
        return whole.logsumexp(dim=0) - mean, first.logsumexp(dim=0) - mean

    def first_tokens(
        self, seen: Float[Tensor, "image patch width"]
    ) -> Float[Tensor, "image token"]:
        """The log-probability of each token to begin a caption."""
        x = self.embedding.weight[self.tokenizer.start_id] + self.positions[0]
        x = x.expand(len(seen), 1, -1)
        for block in self.blocks:
            x = block(x, seen, torch.arange(len(seen)))
        return F.log_softmax((self.final_norm(x) @ self.embedding.weight.T).squeeze(1), dim=1)

    def likelihoods(
        self,
        seen: Float[Tensor, "image patch width"],
        tokens: Int64[Tensor, "text length"],
        of: Int64[Tensor, " text"],
        chunk: int = 1024,
    ) -> Float[Tensor, " text"]:
        """Each text's log-likelihood; computed short ones first, with little padding."""
        lengths, order = tokens.argmax(dim=1).sort()
        scores = torch.empty(len(tokens))
        for rows, longest in zip(order.split(chunk), lengths.split(chunk), strict=True):
            part = tokens[rows, : int(longest[-1]) + 1]
            scores[rows] = self.log_probabilities(seen, part, of[rows]).sum(dim=1)
        return scores
