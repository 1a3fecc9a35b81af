"""transformers and what builds on it as the reference: offline and quiet."""

import json
import os
from pathlib import Path
from typing import Any

import tokenizers
import torch
from safetensors.torch import load_file
from tokenizers import models, pre_tokenizers, processors, trainers
from torch import Tensor

os.environ["HF_HUB_OFFLINE"] = "1"

import transformers
from sentence_transformers import SentenceTransformer

from twinlens.checkpoints.formats import hugging_face
from twinlens.checkpoints.formats.key_map import to_native_tensors
from twinlens.checkpoints.torch_arrays import to_arrays, to_tensor
from twinlens.config import TextCleaning, TextConfig, ViTConfig
from twinlens.model.clip import CLIP
from twinlens.text.sentencepiece import SentencePieceTokenizer

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

__all__ = ["SentenceTransformer", "transformers"]


def shaken(model: Any) -> Any:
    """The model with every parameter moved, so that none is one or zero by initialisation."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def opened(directory: Path) -> CLIP:
    """The model in a directory, with every tensor of the file used."""
    config = hugging_face.read_config(directory)
    tensors = load_file(directory / "model.safetensors")
    links = hugging_face.key_map(config, tensors)
    used = {name for link in links for name in link.foreign_names}
    assert {name for name in tensors if not hugging_face.is_ignored(name)} == used
    model = CLIP(config).eval()
    linked = to_native_tensors(links, to_arrays(tensors))
    state = {name: to_tensor(linked[name]) for name in linked}
    if config.text is None or config.vision is None:
        assert "logit_scale" not in state
        state["logit_scale"] = model.state_dict()["logit_scale"]
    model.load_state_dict(state)
    return model


def texts_of_every_length(config: TextConfig) -> Tensor:
    """Rows of 1 to `context_length` tokens, the last of each the end, then zeros."""
    generator = torch.Generator().manual_seed(0)
    shape = (config.context_length, config.context_length)
    tokens = torch.randint(1, config.vocab_size - 2, shape, generator=generator)
    tokens[:, 0] = config.vocab_size - 2
    return (tokens.tril() * (1 - torch.eye(len(tokens), dtype=torch.long))) + torch.diag(
        torch.full((len(tokens),), config.vocab_size - 1)
    )


def random_images(config: ViTConfig) -> Tensor:
    shape = (3, 3, config.image_size, config.image_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def pooled(output) -> Tensor:
    """One tower's answer, whatever its class calls it."""
    for name in ("text_embeds", "image_embeds", "pooler_output"):
        if getattr(output, name, None) is not None:
            return getattr(output, name)
    raise AssertionError(output)


def assert_same_direction(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    difference = ours / ours.norm(dim=-1, keepdim=True) - theirs / theirs.norm(dim=-1, keepdim=True)
    assert difference.abs().max() < 2e-5
    assert (ours.norm(dim=-1) / theirs.norm(dim=-1) - 1).abs().max() < 2e-5


@torch.no_grad()
def assert_same_answers(ours: CLIP, theirs) -> None:
    """Features, every layer of the text tower, and logits."""
    config = ours.config
    if config.text is not None:
        tokens = texts_of_every_length(config.text)
        features = getattr(theirs, "get_text_features", theirs)(tokens)
        assert_same_direction(ours.encode_text(tokens), pooled(features))
        tower = getattr(theirs, "text_model", theirs)
        states = tower(tokens, output_hidden_states=True).hidden_states
        found = ours.text_tower.hidden_states(tokens)
        assert len(found) == len(states) == config.text.layers + 1
        for own, other in zip(found, states, strict=True):
            assert (own - other).norm() < 2e-5 * other.norm()
    if isinstance(config.vision, ViTConfig):
        images = random_images(config.vision)
        features = getattr(theirs, "get_image_features", theirs)(images)
        assert_same_direction(ours.encode_image(images), pooled(features))
    if config.text is not None and isinstance(config.vision, ViTConfig):
        answer = theirs(input_ids=tokens, pixel_values=images)
        logits, _ = ours(images, tokens)
        # Of features of unit length, before the scale multiplies differences.
        assert (logits - answer.logits_per_image).abs().max() < 2e-5 * ours.logit_scale.exp()


def piece_vocabulary(directory: Path, cleaning: TextCleaning) -> SentencePieceTokenizer:
    """A small vocabulary of SigLIP's kind: pieces with a mark for spaces, padded with the end."""
    library = tokenizers.Tokenizer(models.Unigram())
    library.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=60, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    texts = ["a photo of the large dog isn't here", "snow_man, olaf! lower upper line (3.14)"]
    library.train_from_iterator(texts, trainer)
    library.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    directory.mkdir()
    library.save(str(directory / "tokenizer.json"))
    settings = {"tokenizer_class": "T5Tokenizer", "eos_token": "</s>", "pad_token": "</s>"}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    return SentencePieceTokenizer.from_directory(directory, cleaning)
