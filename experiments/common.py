"""What the experiments share: pixels kept on disk, batches, small models and how they are measured.

Every objective learns by the same loop, from the same images in the same order, so that what is
compared is the objective. Runs are on one core, can be killed, and go on where they were.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor, nn

from twinlens.config import CLIPConfig, PreprocessConfig, TextConfig, ViTConfig
from twinlens.data.augment import Augmentation, augment
from twinlens.data.datasets import open_dataset
from twinlens.data.samples import Sample
from twinlens.files import atomic_write_text
from twinlens.images.decode import to_pixels
from twinlens.inference.preprocess import normalize
from twinlens.model.clip import CLIP, MAX_LOGIT_SCALE
from twinlens.model.flops import Flops, image_flops, text_flops
from twinlens.model.loss.contrastive import contrastive_loss
from twinlens.model.presets import ICON_MEAN, ICON_STD
from twinlens.text.clip_bpe import Tokenizer, train_tokenizer
from twinlens.train.planning.flops import similarity_cost

IMAGE_SIZE, PATCH_SIZE = 32, 8
CONTEXT_LENGTH, VOCABULARY = 20, 2048
ENGLISH = 6
"""The first captions of each list are English (`twinlens.curate.icons.captions`)."""

AUGMENTATION = Augmentation(
    max_rotation=10.0,
    max_stretch=0.1,
    colour_std=0.08,
    brightness_std=0.05,
    greyscale_probability=0.05,
)
"""The icon recipes', without their crop: `max_stretch` also zooms."""

COLOUR_EMOJI = frozenset(
    {
        "emojione",
        "fluent-emoji",
        "fluent-emoji-3d",
        "fluent-emoji-flat",
        "fxemoji",
        "noto",
        "noto-v1",
        "streamline-emojis",
    }
)
EMOJI_SHARE = 0.8
"""Of each batch; the embedded model was trained on such a mixture (`bench/emoji_share.py`)."""

TARS = 32
"""Of the training part: 65,533 images, more than a small model sees often enough."""

PREPROCESS = PreprocessConfig(image_size=IMAGE_SIZE, mean=ICON_MEAN, std=ICON_STD)
# Data


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of the corpus, decoded.

    Attributes:
        pixels: Mapped from disk, uint8, at the training size.
        names: What each image shows, in English.
        captions: English ones of each image.
        concepts: Equal numbers depict the same thing.
        styles: Who drew it.
        groups: Emoji's category, such as "food & drink".
    """

    pixels: UInt8[np.ndarray, "image 3 size size"]
    names: list[str]
    captions: list[list[str]]
    concepts: Int64[np.ndarray, " image"]
    styles: list[str]
    groups: list[str]

    def __len__(self) -> int:
        return len(self.names)


def read_part(corpus: Path, part: str, size: int = IMAGE_SIZE, tars: int | None = None) -> Part:
    """A part of the corpus, or its first tars; decoded the first time, kept in `corpus/pixels`.

    Raises:
        DataError: There is no such part.
    """
    spec = corpus / part / (f"{{00000..{tars - 1:05}}}.tar" if tars else "")
    kept = corpus / "pixels" / (f"{part}-{size}" + (f"-{tars}" if tars else ""))
    if not kept.with_suffix(".json").is_file():
        kept.parent.mkdir(exist_ok=True)
        _decode(open_dataset(str(spec)).samples, kept, size)
    said = json.loads(kept.with_suffix(".json").read_text(encoding="utf-8"))
    numbers = {concept: i for i, concept in enumerate(dict.fromkeys(said["concepts"]))}
    return Part(
        pixels=np.load(kept.with_suffix(".npy"), mmap_mode="r"),
        names=said["names"],
        captions=said["captions"],
        concepts=np.array([numbers[concept] for concept in said["concepts"]]),
        styles=said["styles"],
        groups=said["groups"],
    )


def _decode(samples: Sequence[Sample], kept: Path, size: int) -> None:
    """Write pixels and words of all samples beside each other; the words last."""
    config = PreprocessConfig(image_size=size)
    shape = (len(samples), 3, size, size)
    pixels = np.lib.format.open_memmap(kept.with_suffix(".npy"), "w+", np.uint8, shape)
    said: dict[str, list[Any]] = {
        key: [] for key in ("names", "captions", "concepts", "styles", "groups")
    }
    for place, sample in enumerate(samples):
        pixels[place] = to_pixels(sample.image_bytes(), config).transpose(2, 0, 1)
        said["names"].append(sample.label)
        said["captions"].append(sample.captions[:ENGLISH])
        said["concepts"].append(sample.concept)
        said["styles"].append(sample.metadata["style"])
        said["groups"].append(sample.metadata["category"])
    pixels.flush()
    atomic_write_text(json.dumps(said), kept.with_suffix(".json"))


def read_tokenizer(corpus: Path, train: Part) -> Tokenizer:
    """The vocabulary of the training captions, learned the first time."""
    path = corpus / "pixels" / f"tokenizer-{VOCABULARY}.json"
    if not path.is_file():
        captions = (caption for captions in train.captions for caption in captions)
        train_tokenizer(captions, VOCABULARY).save(path)
    return Tokenizer.from_file(path)


class Mixture:
    """Batches of a fixed share of emoji, each image once an epoch: functions of seed and step."""

    def __init__(self, part: Part, batch_size: int, seed: int) -> None:
        emoji = np.array([style in COLOUR_EMOJI for style in part.styles])
        share = EMOJI_SHARE if not emoji.all() else 1.0
        self.part = part
        self.seed = seed
        counts = round(share * batch_size), batch_size - round(share * batch_size)
        indices = np.flatnonzero(emoji), np.flatnonzero(~emoji)
        self.sources = [(i, n) for i, n in zip(indices, counts, strict=True) if n]
        self._epoch = cache(self._shuffled)

    def batch(self, step: int) -> tuple[Tensor, list[str], Tensor]:
        """Pixels in 0..255, one caption an image, and what they depict."""
        rows = np.concatenate([self._drawn(source, step) for source in range(len(self.sources))])
        lots = np.random.default_rng([self.seed, step, 1])
        captions = [str(lots.choice(self.part.captions[row])) for row in rows]
        generator = torch.Generator().manual_seed(int(lots.integers(2**62)))
        pixels = augment(torch.from_numpy(self.part.pixels[rows]), AUGMENTATION, generator)
        return pixels, captions, torch.from_numpy(self.part.concepts[rows])

    def _drawn(self, source: int, step: int) -> NDArray[np.int64]:
        indices, count = self.sources[source]
        places = range(step * count, (step + 1) * count)
        return np.array(
            [self._epoch(source, at // len(indices))[at % len(indices)] for at in places]
        )

    def _shuffled(self, source: int, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng([self.seed, source, epoch]).permutation(
            self.sources[source][0]
        )


# Models


class Objective(nn.Module):
    """Something to learn from images and captions, that can then name images by words.

    Attributes:
        usual: Some training images: what is said of them says little of any.
        chunk: Images to score at a time; the names are read anew for each chunk.
    """

    usual: Tensor
    chunk = 512

    def loss(self, images: Tensor, captions: Sequence[str], concepts: Tensor) -> Tensor:
        """Of a batch of normalised images."""
        raise NotImplementedError

    def scores(
        self, images: Float[Tensor, "image 3 size size"], names: Sequence[str]
    ) -> Mapping[str, Float[Tensor, "image name"]]:
        """How well each name fits each image, by one or more ways to score."""
        raise NotImplementedError


SIZES = {
    "xs": (32, 1, 32, 1),
    "s": (32, 3, 32, 1),
    "m": (64, 3, 64, 2),
    "l": (96, 3, 96, 2),
}
"""Width and layers of the image tower, and of the text tower, which is as wide as the space."""


def small_clip(size: str) -> CLIPConfig:
    """A CLIP of two small transformers with heads 32 wide."""
    width, layers, text_width, text_layers = SIZES[size]
    return CLIPConfig(
        embed_dim=text_width,
        vision=ViTConfig(
            image_size=IMAGE_SIZE,
            patch_size=PATCH_SIZE,
            width=width,
            layers=layers,
            heads=width // 32,
            activation="quick_gelu",
        ),
        text=TextConfig(
            context_length=CONTEXT_LENGTH,
            vocab_size=VOCABULARY,
            width=text_width,
            layers=text_layers,
            heads=text_width // 32,
            activation="quick_gelu",
        ),
        tokenizer="tokenizer.json",
        preprocess=PREPROCESS,
    )


class Contrastive(Objective):
    """CLIP: which caption of the batch belongs to which image (paper figure 3)."""

    def __init__(self, config: CLIPConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.clip = CLIP(config)
        self.tokenizer = tokenizer

    def tokens(self, texts: Sequence[str]) -> Int64[Tensor, "text length"]:
        """Rows of ids, cut where they are too long."""
        return torch.from_numpy(self.tokenizer(texts, CONTEXT_LENGTH, truncate=True))

    def loss(self, images: Tensor, captions: Sequence[str], concepts: Tensor) -> Tensor:
        """Symmetric cross-entropy; other images of the same thing are no negatives."""
        return contrastive_loss(
            self.clip.encode_image(images),
            self.clip.encode_text(self.tokens(captions)),
            self.clip.logit_scale.clamp(max=MAX_LOGIT_SCALE),
            concepts,
        )

    def scores(
        self, images: Float[Tensor, "image 3 size size"], names: Sequence[str]
    ) -> Mapping[str, Float[Tensor, "image name"]]:
        """Cosines of images and bare names."""
        texts = self.clip.encode_text(self.tokens(names), normalize=True)
        return {"cosine": self.clip.encode_image(images, normalize=True) @ texts.T}


def contrastive_flops(config: CLIPConfig, batch_size: int, tokens: float) -> float:
    """Operations of training on one pair, its caption that many tokens long."""
    assert config.vision is not None
    image = image_flops(config.vision, config.embed_dim)
    text = text_flops(config.text_config, config.embed_dim, tokens)
    whole: Flops = image + text + similarity_cost(config, batch_size)
    return whole.training


def score_names(
    objective: Objective, part: Part, names: Sequence[str]
) -> dict[str, Float[Tensor, "image name"]]:
    """How well each name fits each image, by each way to score."""
    found: dict[str, list[Tensor]] = {}
    with torch.inference_mode():
        for start in range(0, len(part), objective.chunk):
            pixels = torch.from_numpy(part.pixels[start : start + objective.chunk].copy())
            scores = objective.scores(normalize(pixels, PREPROCESS), names)
            for key, rows in scores.items():
                found.setdefault(key, []).append(rows)
    return {key: torch.cat(parts) for key, parts in found.items()}


def right(
    scores: Float[Tensor, "image name"], part: Part, names: Sequence[str], k: int = 1
) -> Bool[np.ndarray, " image"]:
    """Of each image, whether its own name is among the `k` of the highest scores."""
    places = {name: i for i, name in enumerate(names)}
    own = torch.tensor([places[name] for name in part.names])
    return (scores.topk(k, dim=1).indices == own[:, None]).any(dim=1).numpy()


def only_names(part: Part, names: Sequence[str]) -> Part:
    """The images of these names."""
    wanted = set(names)
    return at(part, np.flatnonzero([name in wanted for name in part.names]))


def at(part: Part, rows: NDArray[np.int64]) -> Part:
    """Those images."""
    return Part(
        pixels=part.pixels[rows],
        names=[part.names[row] for row in rows],
        captions=[part.captions[row] for row in rows],
        concepts=part.concepts[rows],
        styles=[part.styles[row] for row in rows],
        groups=[part.groups[row] for row in rows],
    )


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """The 95% interval of bootstrapped values."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
