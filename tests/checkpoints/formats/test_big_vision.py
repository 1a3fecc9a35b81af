"""SigLIP's `.npz`: read as big_vision computes it, here written out in numpy."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from twinlens.checkpoints.formats import big_vision
from twinlens.checkpoints.formats.key_map import to_foreign_tensors, to_native_tensors
from twinlens.checkpoints.formats.open_clip import key_map as open_clip_links
from twinlens.checkpoints.formats.open_clip import timm_siglip
from twinlens.checkpoints.formats.storage.tensors import open_tensors
from twinlens.checkpoints.torch_arrays import to_arrays, to_tensor
from twinlens.config import CLIPConfig
from twinlens.errors import CheckpointError
from twinlens.model.clip import CLIP

PATCH, SIDE, WIDTH, HEADS, MLP, LAYERS = 4, 3, 32, 4, 80, 2
LENGTH, VOCABULARY, TEXT_WIDTH, TEXT_HEADS = 6, 50, 24, 3

Parameters = dict[str, np.ndarray]


def attention(rng: np.random.Generator, name: str, width: int, heads: int) -> Parameters:
    found = {}
    for part in ("query", "key", "value"):
        found[f"{name}/{part}/kernel"] = rng.normal(size=(width, heads, width // heads))
        found[f"{name}/{part}/bias"] = rng.normal(size=(heads, width // heads))
    found[f"{name}/out/kernel"] = rng.normal(size=(heads, width // heads, width))
    return found | {f"{name}/out/bias": rng.normal(size=width)}


def norm(rng: np.random.Generator, name: str, width: int) -> Parameters:
    return {f"{name}/scale": 1 + rng.normal(size=width), f"{name}/bias": rng.normal(size=width)}


def mlp(rng: np.random.Generator, name: str, width: int, mlp_width: int) -> Parameters:
    return {
        f"{name}/Dense_0/kernel": rng.normal(size=(width, mlp_width)),
        f"{name}/Dense_0/bias": rng.normal(size=mlp_width),
        f"{name}/Dense_1/kernel": rng.normal(size=(mlp_width, width)),
        f"{name}/Dense_1/bias": rng.normal(size=width),
    }


def encoder(
    rng: np.random.Generator, name: str, width: int, heads: int, mlp_width: int
) -> Parameters:
    found = norm(rng, f"{name}/encoder_norm", width)
    for i in range(LAYERS):
        block = f"{name}/encoderblock_{i}"
        found |= norm(rng, f"{block}/LayerNorm_0", width)
        found |= attention(rng, f"{block}/MultiHeadDotProductAttention_0", width, heads)
        found |= norm(rng, f"{block}/LayerNorm_1", width)
        found |= mlp(rng, f"{block}/MlpBlock_0", width, mlp_width)
    return found


def parameters() -> Parameters:
    """A SigLIP with towers of different widths, as its largest has."""
    rng = np.random.default_rng(0)
    image, text = "params/img", "params/txt"
    found = {
        f"{image}/embedding/kernel": rng.normal(size=(PATCH, PATCH, 3, WIDTH)),
        f"{image}/embedding/bias": rng.normal(size=WIDTH),
        f"{image}/pos_embedding": rng.normal(size=(1, SIDE**2, WIDTH)),
        f"{image}/MAPHead_0/probe": rng.normal(size=(1, 1, WIDTH)),
        f"{text}/Embed_0/embedding": rng.normal(size=(VOCABULARY, TEXT_WIDTH)),
        f"{text}/pos_embedding": rng.normal(size=(1, LENGTH, TEXT_WIDTH)),
        f"{text}/head/kernel": rng.normal(size=(TEXT_WIDTH, WIDTH)),
        f"{text}/head/bias": rng.normal(size=WIDTH),
        "params/t": np.array([2.3]),
        "params/b": np.array([-9.5]),
    }
    found |= encoder(rng, f"{image}/Transformer", WIDTH, HEADS, MLP)
    found |= attention(rng, f"{image}/MAPHead_0/MultiHeadDotProductAttention_0", WIDTH, HEADS)
    found |= norm(rng, f"{image}/MAPHead_0/LayerNorm_0", WIDTH)
    found |= mlp(rng, f"{image}/MAPHead_0/MlpBlock_0", WIDTH, MLP)
    found |= encoder(rng, f"{text}/Encoder_0", TEXT_WIDTH, TEXT_HEADS, 4 * TEXT_WIDTH)
    # Small enough for the soft maxima to be soft.
    return {name: np.float32(value * 0.2) for name, value in found.items()}


def scanned(found: Parameters) -> Parameters:
    """The same with the blocks of each tower stacked."""
    stacks: dict[str, list[np.ndarray]] = {}
    for name, value in found.items():
        stacks.setdefault(name.replace("block_0/", "block/").replace("block_1/", "block/"), [])
        stacks[name.replace("block_0/", "block/").replace("block_1/", "block/")].append(value)
    return {
        name: np.stack(values) if "/encoderblock/" in name else values[0]
        for name, values in stacks.items()
    }


class Flax:
    """The forward passes of big_vision's modules, by the names of their parameters."""

    def __init__(self, found: Parameters) -> None:
        self.parameters = found

    def __getitem__(self, name: str) -> np.ndarray:
        return self.parameters[f"params/{name}"].astype(np.float64)

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
        return scaled * self[f"{name}/scale"] + self[f"{name}/bias"]

    def attention(self, name: str, asking: np.ndarray, asked: np.ndarray) -> np.ndarray:
        query, key, value = (
            np.einsum("nlw,whd->nlhd", x, self[f"{name}/{part}/kernel"])
            + self[f"{name}/{part}/bias"]
            for part, x in (("query", asking), ("key", asked), ("value", asked))
        )
        scores = np.einsum("nqhd,nkhd->nhqk", query, key) / np.sqrt(query.shape[-1])
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        mixed = np.einsum("nhqk,nkhd->nqhd", weights, value)
        return (
            np.einsum("nqhd,hdw->nqw", mixed, self[f"{name}/out/kernel"]) + self[f"{name}/out/bias"]
        )

    def mlp(self, name: str, x: np.ndarray) -> np.ndarray:
        x = x @ self[f"{name}/Dense_0/kernel"] + self[f"{name}/Dense_0/bias"]
        x = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
        return x @ self[f"{name}/Dense_1/kernel"] + self[f"{name}/Dense_1/bias"]

    def encoder(self, name: str, x: np.ndarray) -> np.ndarray:
        for i in range(LAYERS):
            block = f"{name}/encoderblock_{i}"
            y = self.norm(f"{block}/LayerNorm_0", x)
            x = x + self.attention(f"{block}/MultiHeadDotProductAttention_0", y, y)
            x = x + self.mlp(f"{block}/MlpBlock_0", self.norm(f"{block}/LayerNorm_1", x))
        return self.norm(f"{name}/encoder_norm", x)

    def image(self, images: np.ndarray) -> np.ndarray:
        """Of images [n, height, width, 3], as Flax takes them."""
        grid = images.reshape(len(images), SIDE, PATCH, SIDE, PATCH, 3)
        x = np.einsum("nipjqc,pqcw->nijw", grid, self["img/embedding/kernel"])
        x = x.reshape(len(images), SIDE**2, WIDTH) + self["img/embedding/bias"]
        x = self.encoder("img/Transformer", x + self["img/pos_embedding"])
        probe = np.tile(self["img/MAPHead_0/probe"], [len(x), 1, 1])
        x = self.attention("img/MAPHead_0/MultiHeadDotProductAttention_0", probe, x)
        y = self.norm("img/MAPHead_0/LayerNorm_0", x)
        return (x + self.mlp("img/MAPHead_0/MlpBlock_0", y))[:, 0]

    def text(self, tokens: np.ndarray) -> np.ndarray:
        x = self["txt/Embed_0/embedding"][tokens] + self["txt/pos_embedding"]
        x = self.encoder("txt/Encoder_0", x)[:, -1]
        return x @ self["txt/head/kernel"] + self["txt/head/bias"]


def read(found: Mapping[str, np.ndarray], folder: Path) -> CLIP:
    """A model by way of a file."""
    np.savez(folder / "siglip.npz", **found)
    tensors = open_tensors(folder / "siglip.npz")
    config = big_vision.infer_config(tensors)
    model = CLIP(config).eval()
    linked = to_native_tensors(big_vision.key_map(config, tensors), tensors)
    model.load_state_dict({name: to_tensor(linked[name]) for name in linked})
    return model


@pytest.mark.parametrize("layout", ["blocks", "scanned", "no root"])
def test_the_answers_are_those_of_flax(tmp_path: Path, layout: str) -> None:
    found = parameters()
    stored = scanned(found) if layout == "scanned" else found
    if layout == "no root":
        stored = {name.removeprefix("params/"): value for name, value in found.items()}
    model, flax = read(stored, tmp_path), Flax(found)
    rng = np.random.default_rng(1)
    flax_images = rng.normal(size=(3, SIDE * PATCH, SIDE * PATCH, 3))
    tokens = rng.integers(0, VOCABULARY, (5, LENGTH))
    image_features, text_features = flax.image(flax_images), flax.text(tokens)
    image_features /= np.linalg.norm(image_features, axis=-1, keepdims=True)
    text_features /= np.linalg.norm(text_features, axis=-1, keepdims=True)
    logits = np.exp(found["params/t"]) * image_features @ text_features.T + found["params/b"]

    images = torch.tensor(flax_images, dtype=torch.float32).permute(0, 3, 1, 2)
    with torch.no_grad():
        ours_image = model.encode_image(images, normalize=True)
        ours_text = model.encode_text(torch.tensor(tokens), normalize=True)
        ours_logits, _ = model(images, torch.tensor(tokens))
    assert np.abs(ours_image.numpy() - image_features).max() < 2e-6
    assert np.abs(ours_text.numpy() - text_features).max() < 2e-6
    assert np.abs(ours_logits.numpy() - logits).max() < 2e-5


def test_the_shapes_tell_the_configuration(tmp_path: Path) -> None:
    config = read(parameters(), tmp_path).config
    assert isinstance(config, CLIPConfig)
    assert config.vision is not None
    assert config.vision.kind == "vit"
    assert (config.vision.image_size, config.vision.patch_size) == (12, 4)
    assert (config.vision.width, config.vision.heads, config.vision.mlp_width) == (32, 4, 80)
    assert (config.text_config.width, config.text_config.heads) == (24, 3)
    assert (config.text_config.context_length, config.text_config.vocab_size) == (6, 50)
    assert config.text_config.projection == "affine"
    assert (config.embed_dim, config.logit_bias) == (32, True)
    assert config.preprocess_config.resize == "squash"
    assert config.preprocess_config.mean == config.preprocess_config.std == (0.5, 0.5, 0.5)
    assert config.tokenizer == "tokenizer.json"


@pytest.mark.peers
def test_open_clip_reads_the_same_weights(tmp_path: Path) -> None:
    """Its own importer fills its modules with what our links give under its names."""
    from open_clip.convert import load_big_vision_weights  # noqa: PLC0415
    from open_clip.transformer import TextTransformer  # noqa: PLC0415
    from timm.models.vision_transformer import VisionTransformer  # noqa: PLC0415

    model = read(parameters(), tmp_path)
    trunk = VisionTransformer(
        img_size=SIDE * PATCH,
        patch_size=PATCH,
        embed_dim=WIDTH,
        depth=LAYERS,
        num_heads=HEADS,
        mlp_ratio=MLP / WIDTH,
        class_token=False,
        global_pool="map",
        num_classes=0,
    )
    text = TextTransformer(
        context_length=LENGTH,
        vocab_size=VOCABULARY,
        width=TEXT_WIDTH,
        heads=TEXT_HEADS,
        layers=LAYERS,
        output_dim=WIDTH,
        proj_bias=True,
    )
    theirs = SimpleNamespace(
        visual=SimpleNamespace(trunk=trunk),
        text=text,
        logit_bias=torch.empty(()),
        logit_scale=torch.empty(()),
    )
    load_big_vision_weights(theirs, str(tmp_path / "siglip.npz"))
    expected = {
        f"{timm_siglip.TRUNK_PREFIX}.{name}": value for name, value in trunk.state_dict().items()
    }
    expected |= {f"text.{name}": value for name, value in text.state_dict().items()}
    expected |= {"logit_scale": theirs.logit_scale, "logit_bias": theirs.logit_bias}
    got = to_foreign_tensors(open_clip_links(model.config, expected), to_arrays(model.state_dict()))
    assert got.keys() == expected.keys()
    assert all(torch.equal(to_tensor(got[name]), expected[name]) for name in expected)


def test_what_is_written_is_what_was_read(tmp_path: Path) -> None:
    found = parameters()
    model = read(found, tmp_path)
    got = to_foreign_tensors(big_vision.key_map(model.config, found), to_arrays(model.state_dict()))
    assert got.keys() == found.keys()
    assert all(np.array_equal(got[name], found[name]) for name in found)


def test_a_block_is_not_written_into_a_stack(tmp_path: Path) -> None:
    stacked = scanned(parameters())
    model = read(stacked, tmp_path)
    with pytest.raises(CheckpointError, match="cannot be written into a stack"):
        to_foreign_tensors(big_vision.key_map(model.config, stacked), to_arrays(model.state_dict()))


def test_the_released_size_counts_where_patches_leave_a_rest() -> None:
    found = parameters()
    width, side = 8, 16
    found["params/img/embedding/kernel"] = np.zeros((14, 14, 3, width), np.float32)
    found["params/img/pos_embedding"] = np.zeros((1, side**2, width), np.float32)
    assert big_vision.infer_config(found).preprocess_config.image_size == 224


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("params/img/embedding/kernel", None, "got no params/img/embedding/kernel"),
        ("params/txt/pos_embedding", None, "got no params/txt/pos_embedding"),
        ("params/img/pos_embedding", (1, 8, 32), "got 8 patches, expected a square"),
        ("params/txt/head/kernel", (24,), r"got shape \[24\], expected 2 axes"),
        ("params/txt/Embed_0/embedding", (0, 24), r"got shape \[0, 24\], expected 2 axes"),
    ],
)
def test_sizes_that_cannot_be_told_are_an_error(
    name: str, shape: tuple[int, ...] | None, message: str
) -> None:
    tensors = parameters()
    del tensors[name]
    if shape is not None:
        tensors[name] = np.zeros(shape)
    with pytest.raises(CheckpointError, match=message):
        big_vision.infer_config(tensors)


@pytest.mark.parametrize("stack", [False, True])
def test_a_tensor_of_another_shape_does_not_pass_for_ours(stack: bool) -> None:
    found = scanned(parameters()) if stack else parameters()
    tensors = dict(found)
    config = big_vision.infer_config(tensors)
    block = "params/img/Transformer/encoderblock" + ("" if stack else "_1")
    name = f"{block}/MultiHeadDotProductAttention_0/out/kernel"
    # As large as ours, and as it would be if heads were not an axis.
    tensors[name] = tensors[name].reshape(*tensors[name].shape[:-3], WIDTH, WIDTH)
    linked = to_native_tensors(big_vision.key_map(config, tensors), tensors)
    native = "image_tower.transformer.blocks.1.attention.out.weight"
    assert linked[native].shape != CLIP(config).state_dict()[native].shape
    if stack:
        tensors[name] = np.zeros((LAYERS + 1, HEADS, WIDTH // HEADS, WIDTH))
        assert linked[native].shape != CLIP(config).state_dict()[native].shape


def test_other_archives_are_not_taken_for_it() -> None:
    assert big_vision.matches(parameters())
    assert not big_vision.matches(["params/img/MAPHead_0/probe"])
    assert not big_vision.matches(["visual.proj", "text_projection"])
