"""A TorchScript archive as OpenAI published CLIP in: a small model with OpenAI's names, traced."""

import math
import warnings
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor, nn


class QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class LayerNorm(nn.LayerNorm):
    """Computed in float32 whatever it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float()).to(x.dtype)


class Block(nn.Module):
    def __init__(self, width: int, mask: Tensor | None) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, max(width // 64, 1))
        self.ln_1 = LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(
                c_fc=nn.Linear(width, 4 * width),
                gelu=QuickGELU(),
                c_proj=nn.Linear(4 * width, width),
            )
        )
        self.ln_2 = LayerNorm(width)
        self.attn_mask = mask

    def forward(self, x: Tensor) -> Tensor:
        """`x` is [sequence, batch, width]."""
        mask = None if self.attn_mask is None else self.attn_mask.to(x.dtype)
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed, normed, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, width: int, layers: int, mask: Tensor | None = None) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(*(Block(width, mask) for _ in range(layers)))

    def forward(self, x: Tensor) -> Tensor:
        """`x` is [batch, sequence, width]."""
        return self.resblocks(x.transpose(0, 1)).transpose(0, 1)


class VisionTransformer(nn.Module):
    def __init__(
        self, *, image_size: int, patch_size: int, width: int, layers: int, embed_dim: int
    ) -> None:
        super().__init__()
        patches = (image_size // patch_size) ** 2
        self.conv1 = nn.Conv2d(3, width, patch_size, stride=patch_size, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width) / math.sqrt(width))
        self.positional_embedding = nn.Parameter(torch.randn(patches + 1, width) / math.sqrt(width))
        self.ln_pre = LayerNorm(width)
        self.transformer = Transformer(width, layers)
        self.ln_post = LayerNorm(width)
        self.proj = nn.Parameter(torch.randn(width, embed_dim) / math.sqrt(width))

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv1(images).flatten(2).transpose(1, 2)
        first = self.class_embedding.to(x.dtype).expand(len(x), 1, -1)
        x = torch.cat([first, x], dim=1) + self.positional_embedding.to(x.dtype)
        x = self.transformer(self.ln_pre(x))
        return self.ln_post(x[:, 0]) @ self.proj


class OpenAICLIP(nn.Module):
    """A vision-transformer CLIP by OpenAI's names, in OpenAI's mixture of types.

    Linear layers, convolutions and projections are float16, the rest float32; `context_length`,
    `input_resolution` and `vocab_size` lie beside the weights.
    """

    def __init__(
        self,
        *,
        image_size: int = 32,
        patch_size: int = 8,
        vision_width: int = 128,
        vision_layers: int = 2,
        context_length: int = 16,
        vocab_size: int = 100,
        text_width: int = 64,
        text_layers: int = 2,
        embed_dim: int = 32,
    ) -> None:
        super().__init__()
        self.visual = VisionTransformer(
            image_size=image_size,
            patch_size=patch_size,
            width=vision_width,
            layers=vision_layers,
            embed_dim=embed_dim,
        )
        mask = torch.full((context_length, context_length), float("-inf")).triu(1)
        self.transformer = Transformer(text_width, text_layers, mask)
        self.token_embedding = nn.Embedding(vocab_size, text_width)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(context_length, text_width))
        self.ln_final = LayerNorm(text_width)
        self.text_projection = nn.Parameter(torch.randn(text_width, embed_dim) / 8)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        for name, number in (
            ("input_resolution", image_size),
            ("context_length", context_length),
            ("vocab_size", vocab_size),
        ):
            self.register_buffer(name, torch.tensor(number))
        self._to_half()

    def _to_half(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.MultiheadAttention):
                module.half()
        self.visual.proj.data = self.visual.proj.data.half()
        self.text_projection.data = self.text_projection.data.half()

    def encode_image(self, images: Tensor) -> Tensor:
        return self.visual(images.half())

    def encode_text(self, tokens: Tensor) -> Tensor:
        x = self.token_embedding(tokens).half() + self.positional_embedding.half()
        x = self.ln_final(self.transformer(x))
        return x[torch.arange(len(x)), tokens.argmax(dim=-1)] @ self.text_projection

    def forward(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Logits per image and per text."""
        image, text = (nn.functional.normalize(x.float(), dim=-1) for x in (
            self.encode_image(images), self.encode_text(tokens)
        ))  # fmt: skip
        logits = self.logit_scale.exp() * image @ text.T
        return logits, logits.T


def openai_model(seed: int = 0, **sizes: int) -> OpenAICLIP:
    """A seeded model; `sizes` are `OpenAICLIP`'s."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return OpenAICLIP(**sizes).eval()


def save_openai_archive(model: OpenAICLIP, path: Path) -> None:
    """Trace a model and save it, as OpenAI did."""
    size, length = int(model.input_resolution), int(model.context_length)
    images = torch.zeros(2, 3, size, size)
    tokens = torch.arange(2 * length).reshape(2, length) % int(model.vocab_size)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch deprecates TorchScript; the files remain
        traced = torch.jit.trace(model, (images, tokens), check_trace=False)
        torch.jit.save(traced, path)
