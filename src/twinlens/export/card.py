"""Model cards: a description of the weights, their origin and their use."""

from __future__ import annotations

from huggingface_hub import ModelCardData

from twinlens.config import CLIPConfig, ResNetConfig, TextConfig, ViTConfig

CARD_FILE = "README.md"

_USAGE_SNIPPETS = {
    "native": """import twinlens

lens = twinlens.load("{directory}")
lens.{verb}""",
    "hf": """from transformers import AutoModel

model = AutoModel.from_pretrained("{directory}")""",
    "open_clip": """import open_clip

model, _, preprocess = open_clip.create_model_and_transforms("local-dir:{directory}")""",
}


def model_card(config: CLIPConfig, *, name: str, layout: str, num_parameters: int) -> str:
    """Write a card in Markdown with the hub's header, from the configuration alone.

    Args:
        config: The model's configuration, with its provenance.
        name: Title of the card.
        layout: "native", "hf" or "open_clip": the library that opens the directory.
        num_parameters: Number of the model's parameters.
    """
    origin = config.provenance
    rows = [
        ("parameters", f"{num_parameters:,}"),
        ("shared space", f"{config.embed_dim} numbers"),
        ("image tower", _describe_vision(config.vision)),
        ("text tower", _describe_text(config.text)),
        ("images", _describe_preprocess(config)),
        ("came from", origin.source or "not stated"),
        ("recipe", origin.recipe or "not stated"),
        ("data", origin.data or "not stated"),
        ("licence", origin.licence or "not stated: that of the original weights holds"),
    ]
    table = "\n".join(f"| {what} | {value} |" for what, value in rows)
    both = config.vision is not None and config.text is not None
    header = ModelCardData(
        license=origin.licence.lower() or "other",
        library_name=_LIBRARY_NAMES[layout],
        pipeline_tag="zero-shot-image-classification" if both else "feature-extraction",
        tags=["clip"],
    )
    return f"""---
{header.to_yaml()}
---

# {name}

| | |
| --- | --- |
{table}

Written by twinlens. Nothing was measured while it was written: what the weights can do and where
they fail is said where they came from.

```python
{_USAGE_SNIPPETS[layout].format(directory=name, verb=_example_call(config))}
```
"""


_LIBRARY_NAMES = {"native": "twinlens", "hf": "transformers", "open_clip": "open_clip"}


def _describe_vision(config: ViTConfig | ResNetConfig | None) -> str:
    if config is None:
        return "none"
    if isinstance(config, ResNetConfig):
        return f"ResNet, width {config.width}, blocks {', '.join(map(str, config.layers))}"
    pool = "a class token" if config.pooling == "class" else "attention"
    return (
        f"ViT, patches of {config.patch_size} px, width {config.width}, {config.layers} layers, "
        f"{config.activation}, pooled by {pool}"
    )


def _describe_text(config: TextConfig | None) -> str:
    if config is None:
        return "none"
    reach = "causal" if config.causal else "attends both ways"
    return (
        f"{reach}, width {config.width}, {config.layers} layers, {config.activation}, "
        f"{config.vocab_size:,} entries, at most {config.context_length} tokens"
    )


def _describe_preprocess(config: CLIPConfig) -> str:
    pixels = config.preprocess
    if pixels is None:
        return "none"
    how = "shortest side, centre cropped" if pixels.resize == "crop" else "squashed to a square"
    return f"{pixels.image_size} px, {how}, {pixels.interpolation}"


def _example_call(config: CLIPConfig) -> str:
    if config.text is None:
        return 'embed_images(["image.jpg"])'
    if config.vision is None:
        return 'embed_texts(["a cat"])'
    return 'classify("image.jpg", ["cat", "dog"])'
