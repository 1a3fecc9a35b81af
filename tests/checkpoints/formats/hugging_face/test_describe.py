"""Models of ours, written for transformers, diffusers and sentence-transformers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.checkpoints.formats.reference import (
    SentenceTransformer,
    assert_same_answers,
    opened,
    piece_vocabulary,
    shaken,
    texts_of_every_length,
    transformers,
)
from twinlens.checkpoints.formats import hugging_face
from twinlens.checkpoints.writer import write_hugging_face
from twinlens.config import (
    CLIPConfig,
    PreprocessConfig,
    Provenance,
    ResNetConfig,
    TextConfig,
    ViTConfig,
)
from twinlens.embed.embedder import Embedder
from twinlens.errors import CheckpointError
from twinlens.model.clip import CLIP
from twinlens.text.clip_bpe import Tokenizer, train_tokenizer
from twinlens.text.sentencepiece import SentencePieceTokenizer

TEXTS = ["a small drawing of the large cat", "and a dog that isn't here, 3.14 times"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS, 540)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> SentencePieceTokenizer:
    return piece_vocabulary(tmp_path_factory.mktemp("vocabulary") / "pieces", "siglip")


def written_config(name: str, vocab_size: int) -> CLIPConfig:
    """A model of ours that the named class of transformers computes."""
    siglip, text, vision = "Siglip" in name, "Vision" not in name, "Text" not in name
    projects = name == "CLIPModel" or name.endswith("Projection")
    shared = {"width": 32, "layers": 2, "heads": 2, "mlp_width": 48}
    text_config = TextConfig(
        **shared,
        vocab_size=vocab_size,
        context_length=16 if siglip else 77,
        activation="gelu_tanh" if siglip else "quick_gelu",
        causal=not siglip,
        pooling="last" if siglip else "highest",
        projection="affine" if siglip else "linear" if projects else "none",
    )
    vision_config = ViTConfig(
        **shared,
        image_size=32,
        patch_size=8,
        activation="gelu_tanh" if siglip else "quick_gelu",
        norm_eps=1e-6,
        pooling="attention" if siglip else "class",
        projection="linear" if projects else "none",
    )
    pixels = PreprocessConfig(
        image_size=32,
        resize="squash" if siglip else "crop",
        mean=(0.4, 0.5, 0.6),
        background=(0, 255, 0),
    )
    return CLIPConfig(
        embed_dim=24 if projects else 32,
        text=text_config if text else None,
        vision=vision_config if vision else None,
        logit_bias=name == "SiglipModel",
        tokenizer="tokenizer.json" if text else "clip",
        text_cleaning="siglip" if siglip and text else "lower",
        preprocess=pixels if vision else None,
        templates=("a drawing of {}",),
        provenance=Provenance(name="tiny", licence="CC0-1.0"),
    )


def made(config: CLIPConfig) -> CLIP:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = shaken(CLIP(config))
    assert isinstance(model, CLIP)
    return model


NAMES = [
    "CLIPModel",
    "CLIPTextModel",
    "CLIPTextModelWithProjection",
    "CLIPVisionModel",
    "CLIPVisionModelWithProjection",
    "SiglipModel",
    "SiglipTextModel",
    "SiglipVisionModel",
]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_opens_in_transformers(
    name: str, tokenizer: Tokenizer, pieces: SentencePieceTokenizer, tmp_path: Path
):
    words = pieces if "Siglip" in name else tokenizer
    ours = made(written_config(name, words.vocab_size))
    write_hugging_face(ours, tmp_path, words)
    theirs, report = getattr(transformers, name).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    assert_same_answers(ours, theirs.eval())
    # For the others transformers has no class that it finds by their type alone.
    if not name.endswith("Projection") and name != "SiglipTextModel":
        assert type(transformers.AutoModel.from_pretrained(tmp_path)) is type(theirs)


@pytest.mark.parametrize("name", NAMES)
def test_there_and_back_is_the_same_to_the_last_bit(
    name: str, tokenizer: Tokenizer, pieces: SentencePieceTokenizer, tmp_path: Path
):
    words = pieces if "Siglip" in name else tokenizer
    ours = made(written_config(name, words.vocab_size))
    write_hugging_face(ours, tmp_path, words)
    again = opened(tmp_path)
    assert again.config == ours.config
    expected = ours.state_dict()
    if ours.config.text is None or ours.config.vision is None:
        del expected["logit_scale"]  # which one tower does not use
    for tensor, value in expected.items():
        assert torch.equal(again.state_dict()[tensor], value), tensor


def test_a_text_encoder_of_diffusers_is_in_the_whole_model(tokenizer: Tokenizer, tmp_path: Path):
    ours = made(written_config("CLIPModel", tokenizer.vocab_size))
    write_hugging_face(ours, tmp_path, tokenizer)
    theirs, report = transformers.CLIPTextModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["mismatched_keys"]
    tokens = texts_of_every_length(ours.config.text_config)
    with torch.no_grad():
        states = theirs.eval()(tokens, output_hidden_states=True).hidden_states
        for own, other in zip(ours.text_tower.hidden_states(tokens), states, strict=True):
            assert (own - other).norm() < 2e-5 * other.norm()


def test_sentence_transformers_opens_what_is_written(tokenizer: Tokenizer, tmp_path: Path):
    ours = made(written_config("CLIPModel", tokenizer.vocab_size))
    write_hugging_face(ours, tmp_path, tokenizer)
    lens = Embedder.from_model(ours, tokenizer, device="cpu", precision="fp32")
    theirs = SentenceTransformer(str(tmp_path), device="cpu")
    texts = ["a cat", "The LARGE dog isn't here", "3.14 drawings"]
    embeddings = theirs.encode(texts, normalize_embeddings=True)
    assert abs(embeddings - lens.embed_texts(texts)).max() < 2e-5
    theirs.save_pretrained(str(tmp_path / "saved"))
    assert hugging_face.read_config(tmp_path / "saved").text == ours.config.text


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_keep_their_type(dtype: torch.dtype, tokenizer: Tokenizer, tmp_path: Path):
    ours = made(written_config("CLIPModel", tokenizer.vocab_size)).to(dtype)
    write_hugging_face(ours, tmp_path, tokenizer)
    theirs = transformers.CLIPModel.from_pretrained(tmp_path)
    assert theirs.dtype is dtype
    assert torch.equal(theirs.visual_projection.weight, ours.image_tower.projection.T)


def unlike(name: str, **changes: object) -> CLIPConfig:
    """A configuration with one of its towers changed: `text_causal=False`."""
    config = written_config(name, 99)
    for key, value in changes.items():
        tower, _, field = key.partition("_")
        if tower not in ("text", "vision"):
            config = replace(config, **{key: value})
            continue
        changed = value if not field else replace(getattr(config, tower), **{field: value})
        config = replace(config, **{tower: changed})
    return config


REFUSED = {
    "ResNet": (
        lambda: unlike(
            "CLIPModel", vision=ResNetConfig(image_size=32, width=4, layers=(1, 1, 1, 1), heads=4)
        ),
        "vision.kind is 'resnet' instead of 'vit'",
    ),
    "both ways": (
        lambda: unlike("CLIPTextModel", text_causal=False),
        "text.causal is False instead of True",
    ),
    "affine": (
        lambda: unlike("CLIPModel", text_projection="affine"),
        "text.projection is 'affine' instead of 'linear'",
    ),
    "last of both towers": (
        lambda: unlike("CLIPModel", text_pooling="last"),
        "text.pooling is 'last' instead of 'highest' or 'end'",
    ),
    "unprojected": (
        lambda: unlike("CLIPModel", embed_dim=32, vision_projection="none"),
        "vision.projection is 'none' instead of 'linear'",
    ),
    "a bias": (
        lambda: unlike("CLIPModel", logit_bias=True),
        "logit_bias is True instead of False",
    ),
    "no bias": (
        lambda: unlike("SiglipModel", logit_bias=False),
        "logit_bias is False instead of True",
    ),
    "the end token that means another": (
        lambda: replace(
            unlike("CLIPTextModel"),
            text=replace(unlike("CLIPTextModel").text_config, pooling="end", end_id=2),
        ),
        "text.end_id is 2 instead of",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_transformers_cannot_compute_is_refused(
    case: str, tokenizer: Tokenizer, tmp_path: Path
):
    config, message = REFUSED[case]
    with pytest.raises(CheckpointError, match=message):
        write_hugging_face(CLIP(config()), tmp_path / "new", tokenizer)
    assert not (tmp_path / "new").exists()


def test_all_that_is_in_the_way_is_told_at_once(tokenizer: Tokenizer, tmp_path: Path):
    config = unlike("CLIPModel", text_causal=False, text_projection="affine", logit_bias=True)
    with pytest.raises(CheckpointError, match=r"logit_bias.*text\.causal.*text\.projection"):
        write_hugging_face(CLIP(config), tmp_path, tokenizer)


def test_another_vocabulary_than_the_models_is_refused(tokenizer: Tokenizer, tmp_path: Path):
    model = CLIP(written_config("CLIPTextModel", 99))
    with pytest.raises(CheckpointError, match="got a vocabulary of 540, expected vocab_size=99"):
        write_hugging_face(model, tmp_path, tokenizer)
    with pytest.raises(CheckpointError, match="tokenizer: got none"):
        write_hugging_face(model, tmp_path)


def test_clips_padding_is_not_for_towers_that_see_it(tokenizer: Tokenizer, tmp_path: Path):
    model = CLIP(written_config("SiglipTextModel", tokenizer.vocab_size))
    with pytest.raises(CheckpointError, match="got one of CLIP's kind, whose padding"):
        write_hugging_face(model, tmp_path, tokenizer)


def test_processors_give_pixels_and_ids(
    tokenizer: Tokenizer, pieces: SentencePieceTokenizer, tmp_path: Path
):
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    for name, words in (("CLIPModel", tokenizer), ("SiglipModel", pieces)):
        ours = made(written_config(name, words.vocab_size))
        write_hugging_face(ours, tmp_path / name, words)
        processor = transformers.AutoProcessor.from_pretrained(tmp_path / name, backend="pil")
        assert type(processor).__name__ == name.replace("Model", "Processor")
        found = processor(
            text=["a large dog"], images=[Image.fromarray(image)], return_tensors="pt"
        )
        expected = Embedder.from_model(ours, words, device="cpu").preprocess(image)
        np.testing.assert_allclose(found["pixel_values"][0], expected, rtol=0, atol=1e-6)
        ids = words(["a large dog"], len(found["input_ids"][0]))
        assert np.array_equal(found["input_ids"], ids)


def test_a_directory_with_what_would_count_for_more_is_refused(tmp_path: Path):
    (tmp_path / "processor_config.json").write_text("{}")
    model = CLIP(written_config("CLIPVisionModel", 99))
    with pytest.raises(CheckpointError, match=r"got a processor_config\.json in it"):
        write_hugging_face(model, tmp_path)


def test_a_place_that_cannot_be_written_is_one_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    model = CLIP(written_config("CLIPVisionModel", 99))
    with pytest.raises(CheckpointError, match="could not be written"):
        write_hugging_face(model, tmp_path / "file")
