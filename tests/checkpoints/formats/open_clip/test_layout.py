"""open_clip's directories: ours reads its, it opens ours, and the answers agree."""

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.peers import peer
from tests.tiny import tiny_config
from twinlens.checkpoints.formats import open_clip
from twinlens.checkpoints.formats.key_map import to_native_tensors
from twinlens.checkpoints.formats.open_clip import config as open_clip_config
from twinlens.checkpoints.formats.open_clip import describe as open_clip_write
from twinlens.checkpoints.formats.open_clip import timm_siglip
from twinlens.checkpoints.formats.storage.tensors import open_tensors
from twinlens.checkpoints.torch_arrays import to_tensor
from twinlens.checkpoints.writer import write_open_clip
from twinlens.config import CLIPConfig, PreprocessConfig, Provenance, TextCleaning, TextConfig
from twinlens.errors import CheckpointError, TwinlensError
from twinlens.images.decode import to_pixels
from twinlens.inference.preprocess import normalize
from twinlens.model.clip import CLIP
from twinlens.text.clip_bpe import train_tokenizer

pytestmark = pytest.mark.peers
reference, timm = peer("open_clip"), peer("timm")

TOLERANCE = 2e-6  # what another activation changes is ten times that
VOCABULARY = 600
TINY: dict[str, Any] = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"vocab_size": VOCABULARY, "width": 32, "heads": 2, "layers": 2},
}
TINY_RESNET = {
    "vision_cfg": {
        "image_size": 64,
        "layers": [1, 2, 1, 1],
        "width": 16,
        "head_width": 32,
        "patch_size": None,
    }
}


def changed(config: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """A configuration with some keys of it, or of its tables, set."""
    new = deepcopy(dict(config))
    for key, value in changes.items():
        new[key] = new[key] | value if key in ("text_cfg", "vision_cfg") else value
    return new


def their_model(config: Mapping[str, Any]) -> nn.Module:
    """open_clip's model of random weights in which nothing is zero or one."""
    settings = deepcopy(dict(config))
    custom = settings.pop("custom_text", False)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = (reference.model.CustomTextCLIP if custom else reference.CLIP)(**settings)
        for name, value in model.state_dict().items():
            if not value.is_floating_point():
                continue
            if name.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            else:
                value.add_(torch.randn_like(value), alpha=0.02)
    return model.eval()


def save(model: nn.Module, config: Mapping[str, Any], directory: Path, **preprocess: Any) -> None:
    directory.mkdir(exist_ok=True)
    save_file(model.state_dict(), directory / "open_clip_model.safetensors")
    whole = {"model_cfg": config, "preprocess_cfg": preprocess}
    (directory / "open_clip_config.json").write_text(json.dumps(whole), encoding="utf-8")


def our_model(directory: Path) -> CLIP:
    tensors = open_tensors(directory / "open_clip_model.safetensors")
    config = open_clip.read_config(directory, tensors)
    links = open_clip.key_map(config, tensors)
    assert {name for link in links for name in link.foreign_names} == set(tensors)
    model = CLIP(config).eval()
    linked = to_native_tensors(links, tensors)
    model.load_state_dict({name: to_tensor(linked[name]) for name in linked})
    return model


def parse(config: Mapping[str, Any], **preprocess: Any) -> CLIPConfig:
    whole = {"model_cfg": config, "preprocess_cfg": preprocess}
    return open_clip_config.parse_config(whole, [], "open_clip_config.json")


def texts(length: int, vocabulary: int, count: int | None = None) -> Tensor:
    """Tokens of texts of 1, 2, ... to `length` tokens, the last of each with the highest id."""
    count = count or length
    tokens = torch.randint(1, vocabulary - 1, (length, length), generator=torch.manual_seed(1))
    ends = torch.arange(length)
    tokens[ends, ends] = vocabulary - 1
    tokens = tokens * (torch.arange(length) <= ends[:, None])
    return tokens[torch.linspace(0, length - 1, count).long()]


def random_images(size: int) -> Tensor:
    return torch.randn(1 if size > 100 else 3, 3, size, size, generator=torch.manual_seed(2))


@torch.no_grad()
def assert_agree(ours: CLIP, theirs: Any, tokens: Tensor) -> None:
    """Features, logits and every layer's view of a text are theirs."""
    images = random_images(ours.config.preprocess_config.image_size)
    got = ours.encode_image(images, normalize=True), ours.encode_text(tokens, normalize=True)
    expected = (
        theirs.encode_image(images, normalize=True),
        theirs.encode_text(tokens, normalize=True),
    )
    for mine, other in zip(got, expected, strict=True):
        assert (mine - other).abs().max() < TOLERANCE
    logits, _ = theirs.get_logits(images, tokens)
    assert (ours(images, tokens)[0] - logits).abs().max() < TOLERANCE * ours.logit_scale.exp()
    states = theirs.forward_intermediates(text=tokens)["text_intermediates"]
    mine = ours.text_tower.hidden_states(tokens)[1:]
    assert len(mine) == len(states)
    for state, other in zip(mine, states, strict=True):
        norms = other.norm(dim=-1, keepdim=True)
        assert ((state - other).abs() / norms).max() < TOLERANCE


@pytest.fixture
def shallow_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's towers of two blocks, and our table for writing them."""
    monkeypatch.setattr(timm, "create_model", partial(timm.create_model, depth=2))
    for name, size in timm_siglip._TOWER_SIZES.items():
        monkeypatch.setitem(timm_siglip._TOWER_SIZES, name, size._replace(layers=2))


NATIVE = [
    "ViT-H-14",
    "ViT-g-14",
    "ViT-B-32-quickgelu",
    "ViT-B-16-plus-240",
    "ViT-M-32-alt",
    "RN50-quickgelu",
]
SIGLIP = ["ViT-B-16-SigLIP", "ViT-B-32-SigLIP2-256", "ViT-SO400M-14-SigLIP"]


def reduced(name: str) -> dict[str, Any]:
    """One of open_clip's own configurations with two layers and few words."""
    config = reference.get_model_config(name)
    config["text_cfg"] |= {"layers": 2, "vocab_size": VOCABULARY}
    if isinstance(config["vision_cfg"].get("layers"), list):
        config["vision_cfg"]["layers"] = [1, 1, 1, 1]
    elif "layers" in config["vision_cfg"]:
        config["vision_cfg"]["layers"] = 2
    return config


@pytest.mark.parametrize("name", NATIVE)
def test_its_own_architectures_agree(tmp_path: Path, name: str) -> None:
    config = reduced(name)
    theirs = their_model(config)
    save(theirs, config, tmp_path)
    assert_agree(our_model(tmp_path), theirs, texts(77, VOCABULARY, 5))


@pytest.mark.usefixtures("shallow_timm")
@pytest.mark.parametrize("name", SIGLIP)
def test_siglip_agrees(tmp_path: Path, name: str) -> None:
    config = reduced(name)
    theirs = their_model(config)
    save(theirs, config, tmp_path, mean=[0.5] * 3, std=[0.5] * 3, resize_mode="squash")
    ours = our_model(tmp_path)
    assert ours.logit_bias is not None
    assert ours.config.tokenizer == "tokenizer.json"
    assert ours.config.text_cleaning == "canonicalize"
    assert ours.config.preprocess_config.resize == "squash"
    assert_agree(ours, theirs, texts(ours.config.text_config.context_length, VOCABULARY, 5))


VARIANTS = {
    "quick_gelu": {"quick_gelu": True},
    "tanh": {
        "text_cfg": {"act_kwargs": {"approximate": "tanh"}},
        "vision_cfg": {"act_kwargs": {"approximate": "tanh"}},
    },
    "norms": {
        "text_cfg": {"norm_kwargs": {"eps": 1e-2}},
        "vision_cfg": {"norm_kwargs": {"eps": 1e-3}},
    },
    "mlps": {"text_cfg": {"mlp_ratio": 3.7362}, "vision_cfg": {"mlp_ratio": 1.7}},
    "both ways": {"text_cfg": {"no_causal_mask": True}},
    "first end": {"text_cfg": {"pool_type": "eos", "eos_id": 7}},
    "last": {"text_cfg": {"pool_type": "last", "proj_bias": True}},
    "no projection": {"embed_dim": 32, "text_cfg": {"proj_type": "none"}},
    "bias": {"init_logit_bias": -10, "nonscalar_logit_scale": True},
    "short": {"text_cfg": {"context_length": 9}},
    "resnet": TINY_RESNET,
}


@pytest.mark.parametrize("custom_text", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_both_layouts_of_every_variant_agree(
    tmp_path: Path, variant: str, custom_text: bool
) -> None:
    config = changed(TINY, custom_text=custom_text, **VARIANTS[variant])
    if variant == "resnet":
        config["vision_cfg"] = TINY_RESNET["vision_cfg"]
    theirs = their_model(config)
    save(theirs, config, tmp_path)
    ours = our_model(tmp_path)
    tokens = texts(ours.config.text_config.context_length, VOCABULARY)
    if variant == "first end":
        tokens[3, [1, 2]] = 7
    assert_agree(ours, theirs, tokens)


def test_the_names_tell_the_layout_not_the_configuration(tmp_path: Path) -> None:
    theirs = their_model(TINY)
    save(theirs, changed(TINY, custom_text=True), tmp_path)
    assert_agree(our_model(tmp_path), theirs, texts(77, VOCABULARY, 2))


@pytest.mark.parametrize("name", timm_siglip.TOWER_NAMES)
def test_the_table_of_towers_is_that_of_timm(name: str) -> None:
    with torch.device("meta"):
        theirs = timm.create_model(name, num_classes=0)
    config = timm_siglip.tower_config(name)
    with torch.device("meta"):
        ours = CLIP(
            replace(
                tiny_config(),
                embed_dim=config.width,
                vision=config,
                preprocess=PreprocessConfig(image_size=config.image_size),
            )
        ).image_tower
    links = timm_siglip.key_map(config)
    theirs_state = {f"visual.trunk.{key}": value for key, value in theirs.state_dict().items()}
    assert {key for link in links for key in link.foreign_names} == theirs_state.keys()
    state = {f"image_tower.{key}": value.shape for key, value in ours.state_dict().items()}
    assert {
        key: value.shape for key, value in to_native_tensors(links, theirs_state).items()
    } == state
    assert theirs.blocks[0].attn.num_heads == theirs.attn_pool.num_heads == config.heads
    assert theirs.norm.eps == theirs.blocks[0].norm1.eps == theirs.attn_pool.norm.eps == 1e-6
    for mlp in (theirs.blocks[0].mlp, theirs.attn_pool.mlp):
        x = torch.linspace(-3, 3, 50)
        assert torch.equal(mlp.act(x), ours.pool.mlp.activation(x))
    assert timm_siglip.find_tower_name(config) == name


def test_what_is_left_over_of_a_image_is_not_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = timm_siglip._TowerSize(width=32, layers=2, heads=16, mlp_width=119)
    monkeypatch.setitem(timm_siglip._TOWER_SIZES, "so400m", size)
    monkeypatch.setattr(timm, "create_model", partial(timm.create_model, depth=2, embed_dim=32))
    config = reduced("ViT-SO400M-14-SigLIP-384") | {"embed_dim": 32}
    config["text_cfg"] |= {"width": 32, "heads": 4}
    theirs = their_model(config)
    save(theirs, config, tmp_path)
    ours = our_model(tmp_path)
    assert ours.image_tower.image_size == 384
    assert_agree(ours, theirs, texts(64, VOCABULARY, 3))


REFUSED = {
    "layer scale": {"vision_cfg": {"ls_init_value": 1e-4}},
    "average": {"vision_cfg": {"pool_type": "avg"}},
    "no first norm": {"vision_cfg": {"no_ln_pre": True}},
    "sines": {"vision_cfg": {"pos_embed_type": "sin_cos_2d"}},
    "coca pooler": {"vision_cfg": {"attentional_pool": True}},
    "norm after": {"vision_cfg": {"final_ln_after_pool": True}},
    "queries": {"text_cfg": {"qk_norm": True}},
    "text layer scale": {"text_cfg": {"ls_init_value": 0.1}},
    "class token": {"text_cfg": {"embed_cls": True}},
    "first": {"text_cfg": {"pool_type": "first"}},
    "hf": {"text_cfg": {"hf_model_name": "xlm-roberta-base"}},
    "mode": {"text_cfg": {"tokenizer_mode": "clips"}},
    "separators": {"text_cfg": {"tokenizer_kwargs": {"strip_sep_token": True}}},
    "cleaning": {"text_cfg": {"tokenizer_kwargs": {"clean": "whitespace"}}},
    "coca": {"multimodal_cfg": {"context_length": 76}},
    "unknown": {"new_feature": 3},
    "unknown of images": {"vision_cfg": {"new_feature": 3}},
    "unknown of texts": {"text_cfg": {"new_feature": 3}},
    "activation": {"text_cfg": {"act_kwargs": {"inplace": True}}},
    "quick activation": {"quick_gelu": True, "text_cfg": {"act_kwargs": {"approximate": "tanh"}}},
    "norm": {"vision_cfg": {"norm_kwargs": {"bias": False}}},
    "not square": {"vision_cfg": {"image_size": [32, 64]}},
    "text for a number": {"text_cfg": {"width": "32"}},
    "yes for a number": {"text_cfg": {"layers": True}},
    "infinite": {"vision_cfg": {"mlp_ratio": float("inf")}},
    "three stages": {"vision_cfg": {"layers": [1, 1, 1]}},
    "no size": {"embed_dim": None},
    "a convnext": {"vision_cfg": {"timm_model_name": "convnext_base"}},
    "averaged siglip": {"vision_cfg": {"timm_model_name": "vit_base_patch16_siglip_gap_224"}},
    "another pool": {
        "vision_cfg": {"timm_model_name": "vit_base_patch16_siglip_224", "timm_proj": "none"}
    },
    "a projection": {
        "vision_cfg": {"timm_model_name": "vit_base_patch16_siglip_224", "timm_pool": "map"}
    },
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_there_is_no_part_for_is_refused_by_key_and_value(what: str) -> None:
    changes = REFUSED[what]
    with pytest.raises(CheckpointError) as caught:
        parse(changed(TINY, **changes))
    message = str(caught.value)
    assert message.startswith("open_clip_config.json: model_cfg.")
    assert "\n" not in message
    table, key, value = "", *list(changes.items())[-1]
    while isinstance(value, dict) and what != "coca":
        table, (key, value) = f"{table}.{key}", list(value.items())[-1]
    if what not in ("another pool", "a projection"):  # which are of keys that are left out
        assert f"model_cfg{table}.{key}: got {value!r}" in message


def test_another_size_than_timm_gives_the_name_is_refused() -> None:
    vision = {"timm_model_name": "vit_base_patch16_siglip_224", "timm_pool": "map"}
    vision |= {"timm_proj": "none", "image_size": 256}
    with pytest.raises(CheckpointError, match=r"image_size: got 256, expected 224"):
        parse(TINY | {"vision_cfg": vision})


@pytest.mark.parametrize(
    ("preprocess", "message"),
    [
        (
            {"resize_mode": "longest"},
            "resize_mode: got 'longest', expected one of shortest, squash",
        ),
        ({"interpolation": "nearest"}, "interpolation: got 'nearest'"),
        ({"size": 64}, "size: got 64, expected 32"),
        ({"mode": "L"}, "mode: got 'L'"),
        ({"mean": [0.5, 0.5]}, "mean: got"),
        ({"crop_pct": 0.9}, "crop_pct: got 0.9, expected no such key"),
    ],
)
def test_other_preprocessing_is_refused(preprocess: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        parse(TINY, **preprocess)


@pytest.mark.parametrize(
    ("whole", "message"),
    [
        ({"preprocess_cfg": {}}, "got no model_cfg"),
        ({"model_cfg": 3}, "model_cfg: got 3, expected a table"),
        ({"model_cfg": TINY, "preprocess_cfg": []}, r"preprocess_cfg: got \[\], expected a table"),
        ({"model_cfg": TINY | {"text_cfg": "gpt"}}, "text_cfg: got 'gpt', expected a table"),
    ],
)
def test_a_file_of_another_kind_is_refused(whole: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        open_clip_config.parse_config(whole, [], "x")


def test_a_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text("{")
    with pytest.raises(TwinlensError, match=r"open_clip_config\.json: cannot be read"):
        open_clip.read_config(tmp_path, {})


def test_what_changes_no_number_is_passed_over() -> None:
    idle = changed(
        TINY,
        custom_text=True,
        init_logit_scale=2.0,
        vision_cfg={"patch_dropout": 0.5, "timm_drop": 0.1, "ls_init_value": None},
        text_cfg={"pad_id": 1, "hf_proj_type": "mlp"},
    )
    assert parse(idle) == parse(TINY)
    assert parse(TINY, size=[32, 32], mode="RGB", fill_color=0, mean=None) == parse(TINY)
    assert parse(TINY, mean=0.5).preprocess_config.mean == (0.5, 0.5, 0.5)


WRITTEN: dict[str, dict[str, Any]] = {
    "vit": {},
    "quick": {"vision": {"activation": "quick_gelu"}, "text": {"activation": "quick_gelu"}},
    "mixed": {"vision": {"activation": "gelu_tanh", "norm_eps": 1e-6}, "text": {"norm_eps": 1e-4}},
    "mlps": {"vision": {"mlp_width": 131}, "text": {"mlp_width": 49}},
    "end": {"text": {"pooling": "end", "end_id": 0}},
    "both ways": {"text": {"causal": False, "pooling": "last", "projection": "affine"}},
    "bare": {"embed_dim": 16, "text": {"projection": "none"}},
    "bias": {"logit_bias": True},
    "bilinear": {"preprocess": {"interpolation": "bilinear", "mean": (0.1, 0.2, 0.3)}},
}


def written_config(what: str) -> CLIPConfig:
    config = tiny_config(vocab_size=49408, context_length=12)
    assert config.vision is not None
    gelu = {"activation": "gelu"}
    changes = deepcopy(WRITTEN[what])
    changes["vision"] = replace(config.vision, **(gelu | changes.get("vision", {})))
    changes["text"] = replace(config.text_config, **(gelu | changes.get("text", {})))
    changes["preprocess"] = replace(config.preprocess_config, **changes.get("preprocess", {}))
    return replace(config, **changes)


def siglip_config() -> CLIPConfig:
    """Towers as timm's largest SigLIP has them, the text tower narrower than the image tower."""
    tower = timm_siglip.tower_config("vit_base_patch32_siglip_256")
    return replace(
        tiny_config(vocab_size=49408),
        embed_dim=tower.width,
        vision=tower,
        text=TextConfig(
            context_length=12,
            width=48,
            layers=2,
            heads=4,
            mlp_width=101,
            activation="gelu_tanh",
            norm_eps=1e-6,
            causal=False,
            pooling="last",
            projection="affine",
        ),
        logit_bias=True,
        preprocess=PreprocessConfig(image_size=256, resize="squash", mean=(0.5,) * 3),
    )


def random_model(config: CLIPConfig) -> CLIP:
    """A model in which nothing is zero or one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CLIP(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.02)
    return model


def assert_round_trip(model: CLIP, directory: Path) -> None:
    """open_clip opens what we write and answers alike, and we read it to the last bit."""
    write_open_clip(model, directory)
    theirs = reference.create_model(f"local-dir:{directory}").eval()
    assert_agree(model, theirs, texts(12, 49408))
    again = our_model(directory)
    assert again.config == model.config
    state = model.state_dict()
    assert again.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in again.state_dict().items())


@pytest.mark.parametrize("what", WRITTEN)
def test_open_clip_opens_what_is_written(tmp_path: Path, what: str) -> None:
    assert_round_trip(random_model(written_config(what)), tmp_path / "model")


def test_open_clip_opens_a_written_resnet(tmp_path: Path) -> None:
    config = tiny_config("resnet", vocab_size=49408)
    assert_round_trip(random_model(replace(config, embed_dim=12)), tmp_path)


def test_open_clip_opens_a_written_siglip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shallow_timm: None
) -> None:
    monkeypatch.setitem(timm_siglip._TOWER_SIZES, "base", timm_siglip._TowerSize(96, 2, 12, None))
    monkeypatch.setattr(timm, "create_model", partial(timm.create_model, embed_dim=96))
    assert_round_trip(random_model(siglip_config()), tmp_path)


@pytest.mark.parametrize("width", [32, 80, 1152, 1408, 1664])
def test_every_width_of_an_mlp_has_a_ratio(width: int) -> None:
    for mlp_width in range(1, 5 * width):
        ratio = open_clip_write._mlp_ratio(width, mlp_width)
        assert int(width * ratio) == mlp_width


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vision": None, "preprocess": None}, "got one tower"),
        ({"text": None}, "got one tower"),
        ({"vision": {"activation": "gelu"}}, "activations: got quick_gelu and gelu"),
        ({"embed_dim": 32, "vision": {"projection": "none"}}, "image tower: got no projection"),
        (
            {"embed_dim": 32, "vision": {"projection": "none", "pooling": "attention"}},
            "image tower: got 2 layers of width 32",
        ),
        ({"tokenizer": "tokenizer.json"}, "got no tokenizer"),
    ],
)
def test_what_open_clip_has_not_got_is_not_written(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    config = tiny_config()
    if isinstance(changes.get("vision"), dict):
        assert config.vision is not None
        changes = changes | {"vision": replace(config.vision, **changes["vision"])}
    with torch.device("meta"):
        model = CLIP(replace(config, **changes))
    with pytest.raises(CheckpointError, match=message):
        write_open_clip(model, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_place_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="could not be saved"):
        write_open_clip(random_model(written_config("vit")), tmp_path / "file")


def test_a_vocabulary_of_our_own_travels_along(tmp_path: Path) -> None:
    sentences = [f"a photo of the {word}" for word in ("cat", "cats", "house", "tower", "train")]
    tokenizer = train_tokenizer(sentences, 530)
    config = replace(tiny_config(vocab_size=530, context_length=9), tokenizer="tokenizer.json")
    model = random_model(config)
    write_open_clip(model, tmp_path, tokenizer)
    assert our_model(tmp_path).config == config
    theirs = reference.create_model(f"local-dir:{tmp_path}").eval()
    their_tokenizer = reference.get_tokenizer(f"local-dir:{tmp_path}")
    words = ["A  PHOTO of the cat!!", "trains &amp; towers in all the houses of a town", ""]
    ours = tokenizer(words, context_length=9, truncate=True)
    got = their_tokenizer(words)
    kept = np.arange(9) <= ours.argmax(axis=1)[:, None]
    assert np.array_equal(got.numpy() * kept, ours)
    with torch.no_grad():  # what lies behind the end is not looked at
        assert (theirs.encode_text(got) - model.encode_text(ours)).abs().max() < 1e-5


@pytest.mark.parametrize("cleaning", ["canonicalize", "siglip", "none"])
def test_siglips_kind_of_vocabulary_travels_along(tmp_path: Path, cleaning: TextCleaning) -> None:
    from tests.checkpoints.formats.reference import piece_vocabulary  # noqa: PLC0415  transformers

    tokenizer = piece_vocabulary(tmp_path / "vocabulary", cleaning)
    config = tiny_config(vocab_size=tokenizer.vocab_size, context_length=16)
    text = replace(config.text_config, causal=False, pooling="last")
    config = replace(config, text=text, tokenizer="tokenizer.json", text_cleaning=cleaning)
    write_open_clip(random_model(config), tmp_path / "model", tokenizer)
    words = ["a large photo of the dog", "Olaf, a snow_man!", "isn't here here here here here", ""]
    ours = tokenizer(words, context_length=16, truncate=True)
    theirs = reference.get_tokenizer(f"local-dir:{tmp_path / 'model'}")(words)
    assert np.array_equal(theirs, ours)
    assert our_model(tmp_path / "model").config == config


def test_what_open_clip_has_no_place_for_comes_back(tmp_path: Path) -> None:
    config = written_config("vit")
    config = replace(
        config,
        templates=("{} there", "here {}"),
        provenance=Provenance(name="tiny", licence="CC0-1.0", samples_seen=3),
        preprocess=replace(config.preprocess_config, background=(1, 2, 3)),
    )
    write_open_clip(random_model(config), tmp_path)
    assert our_model(tmp_path).config == config
    path = tmp_path / "open_clip_config.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole | {"twinlens": whole["twinlens"] | {"templates": []}}))
    with pytest.raises(CheckpointError, match=r"twinlens: CLIPConfig\.templates: got \(\)"):
        our_model(tmp_path)


@pytest.mark.parametrize("resize", ["crop", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_pixels_are_those_of_its_transforms(
    tmp_path: Path, resize: Any, interpolation: Any
) -> None:
    config = tiny_config(vocab_size=49408)
    pixels = replace(config.preprocess_config, resize=resize, interpolation=interpolation)
    write_open_clip(random_model(replace(config, preprocess=pixels)), tmp_path)
    _, _, transform = reference.create_model_and_transforms(f"local-dir:{tmp_path}")
    read = our_model(tmp_path).config.preprocess_config
    assert read == pixels
    rng = np.random.default_rng(0)
    for height, width in ((32, 32), (40, 97), (301, 33), (5, 7)):
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        ours = normalize(torch.from_numpy(to_pixels(image, read)).permute(2, 0, 1)[None], read)
        assert (transform(image) - ours[0]).abs().max() < 1e-6
