"""OpenAI's architectures against open_clip's implementation of them, with the same weights."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.peers import peer
from twinlens.checkpoints.formats import open_clip, openai
from twinlens.checkpoints.formats.key_map import to_foreign_tensors
from twinlens.checkpoints.reader import read_model
from twinlens.checkpoints.recognise import Checkpoint, open_checkpoint
from twinlens.checkpoints.torch_arrays import to_arrays, to_tensor
from twinlens.config import CLIPConfig, PreprocessConfig, ResNetConfig, TextConfig, ViTConfig
from twinlens.errors import CheckpointError, ConfigError
from twinlens.model import presets
from twinlens.model.clip import CLIP

pytestmark = pytest.mark.peers
open_clip_model = peer("open_clip.model")

START, END = 49406, 49407
TOLERANCE = 2e-5

FULL = ("rn50", "vit_b_32")
REDUCED = ("rn101", "rn50x4", "rn50x16", "rn50x64", "vit_b_16", "vit_l_14", "vit_l_14_336")


def shallow(config: CLIPConfig) -> CLIPConfig:
    """Widths, heads, patches and pixels as they are; two layers, or one block a stage."""
    assert config.vision is not None
    assert config.text is not None
    vision = (
        replace(config.vision, layers=(1, 2, 1, 1))
        if isinstance(config.vision, ResNetConfig)
        else replace(config.vision, layers=2)
    )
    return replace(config, vision=vision, text=replace(config.text, layers=2))


def reference_model(config: CLIPConfig) -> torch.nn.Module:
    """open_clip's model of the same sizes with weights of its own, float32."""
    vision, text = config.vision, config.text
    assert vision is not None
    assert text is not None
    sizes = {"image_size": vision.image_size, "width": vision.width, "layers": vision.layers}
    if isinstance(vision, ViTConfig):
        sizes |= {"patch_size": vision.patch_size, "head_width": vision.width // vision.heads}
    torch.manual_seed(0)
    model = open_clip_model.CLIP(
        config.embed_dim,
        vision_cfg=sizes,
        text_cfg={
            "context_length": text.context_length,
            "vocab_size": text.vocab_size,
            "width": text.width,
            "heads": text.heads,
            "layers": text.layers,
        },
        quick_gelu=True,
    )
    # Fresh norms and gains are ones and zeros: noise shows a swapped name.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(std=0.1)
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
    return model.eval()


def texts_of_every_length(vocab_size: int) -> torch.Tensor:
    """Rows of 1 to 77 tokens with start and end, zero padded."""
    tokens = torch.zeros(77, 77, dtype=torch.long)
    for row in range(77):
        tokens[row, :row] = torch.randint(1, vocab_size - 2, (row,))
        tokens[row, 0] = vocab_size - 2
        tokens[row, row] = vocab_size - 1
    return tokens


def ours(reference: torch.nn.Module) -> CLIP:
    state = to_arrays(reference.state_dict())
    config = openai.infer_config(state, "quick_gelu")
    checkpoint = Checkpoint(
        family="openai",
        path=Path("memory"),
        config=config,
        key_map=open_clip.key_map(config, ()),
        tensors=state,
        is_ignored=openai.is_ignored,
    )
    return read_model(checkpoint)


@pytest.mark.parametrize("name", [*FULL, *REDUCED])
@torch.inference_mode()
def test_features_and_logits_equal_open_clip(name: str):
    full = getattr(presets, name)()
    config = full if name in FULL else shallow(full)
    reference = reference_model(config)
    model = ours(reference)
    assert model.config == config
    tokens = texts_of_every_length(config.text_config.vocab_size)
    images = torch.randn(2, 3, full.preprocess.image_size, full.preprocess.image_size)

    layers: list[torch.Tensor] = []
    for block in reference.transformer.resblocks:
        block.register_forward_hook(lambda _module, _inputs, output: layers.append(output))
    theirs = reference.encode_text(tokens, normalize=True)
    texts = model.encode_text(tokens, normalize=True)
    assert (texts - theirs).abs().max() < TOLERANCE
    states = model.text_tower.hidden_states(tokens)[1:]
    assert len(states) == len(layers) == config.text_config.layers
    for state, layer in zip(states, layers, strict=True):
        assert ((state - layer).norm(dim=-1) / layer.norm(dim=-1)).max() < TOLERANCE

    their_images = reference.encode_image(images, normalize=True)
    assert (model.encode_image(images, normalize=True) - their_images).abs().max() < TOLERANCE
    logits, _ = model(images, tokens)
    expected = reference.logit_scale.exp() * their_images @ theirs.T
    assert (logits - expected).abs().max() < TOLERANCE * reference.logit_scale.exp()


@pytest.mark.parametrize("name", ["rn50", "vit_b_32"])
def test_a_round_trip_keeps_every_bit(name: str):
    config = shallow(getattr(presets, name)())
    reference = reference_model(config)
    state = reference.state_dict()
    again = to_foreign_tensors(
        open_clip.key_map(config, ()), to_arrays(ours(reference).state_dict())
    )
    assert again.keys() == state.keys()
    assert all(torch.equal(to_tensor(again[key]), state[key]) for key in state)


def tiny_state() -> dict[str, torch.Tensor]:
    """OpenAI's names with tiny sizes; heads are 64 wide there, so is everything."""
    config = CLIPConfig(
        embed_dim=16,
        vision=ViTConfig(
            image_size=32, patch_size=16, width=64, layers=1, heads=1, activation="quick_gelu"
        ),
        text=TextConfig(
            context_length=8, vocab_size=60, width=64, layers=1, heads=1, activation="quick_gelu"
        ),
        preprocess=PreprocessConfig(image_size=32),
    )
    torch.manual_seed(0)
    state = to_foreign_tensors(open_clip.key_map(config, ()), to_arrays(CLIP(config).state_dict()))
    return {name: to_tensor(value) for name, value in state.items()}


def test_a_state_dict_alone_does_not_tell_its_activation(tmp_path: Path):
    torch.save(tiny_state(), tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match="does not tell its activation, expected quick_gelu"):
        open_checkpoint(tmp_path / "weights.pt")
    opened = open_checkpoint(tmp_path / "weights.pt", activation="gelu")
    assert opened.config.text_config.activation == "gelu"


def test_openai_s_own_weights_are_quick_gelu_and_nothing_else(tmp_path: Path):
    marks = {name: torch.tensor(32) for name in openai.ARCHIVE_KEYS}
    torch.save(tiny_state() | marks, tmp_path / "weights.pt")
    with pytest.raises(ConfigError, match=r"activation: got 'gelu' for .*, expected quick_gelu"):
        open_checkpoint(tmp_path / "weights.pt", activation="gelu")
    opened = open_checkpoint(tmp_path / "weights.pt")
    assert opened.config.text_config.activation == "quick_gelu"
    model = read_model(opened)
    assert torch.equal(model.text_tower.projection, tiny_state()["text_projection"])


def test_all_that_does_not_fit_is_listed_at_once(tmp_path: Path):
    state = tiny_state()
    del state["ln_final.bias"]
    state["visual.extra"] = torch.zeros(1)
    state["visual.ln_post.weight"] = torch.zeros(3)
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError) as caught:
        read_model(open_checkpoint(tmp_path / "weights.pt", activation="gelu"))
    message = str(caught.value)
    assert "missing ln_final.bias" in message
    assert "unexpected visual.extra" in message
    assert "image_tower.post_norm.weight is [3] instead of [64]" in message


def test_weights_that_are_not_numbers_are_refused(tmp_path: Path):
    state = tiny_state()
    state["ln_final.bias"][3] = float("nan")
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=r"ln_final\.bias: got nan, expected finite weights"):
        read_model(open_checkpoint(tmp_path / "weights.pt", activation="gelu"))


def test_one_tower_reads_only_its_own_tensors(tmp_path: Path):
    state = tiny_state()
    state["visual.proj"][0, 0] = float("nan")  # would be refused if it were read
    torch.save(state, tmp_path / "weights.pt")
    opened = open_checkpoint(tmp_path / "weights.pt", activation="gelu")
    model = read_model(opened, towers="text")
    assert not hasattr(model, "image_tower")
    assert model.config.vision is None
    with pytest.raises(CheckpointError):
        read_model(opened, towers="image")


def test_positions_are_resized_as_open_clip_does():
    config = shallow(presets.vit_b_32())
    reference = reference_model(config)
    state = {name: value.clone() for name, value in reference.state_dict().items()}
    larger = reference_model(
        replace(
            config,
            vision=replace(config.vision, image_size=320),
            preprocess=PreprocessConfig(image_size=320),
        )
    )
    open_clip_model.resize_pos_embed(state, larger)
    checkpoint = Checkpoint(
        family="openai",
        path=Path("memory"),
        config=config,
        key_map=open_clip.key_map(config, ()),
        tensors=to_arrays(reference.state_dict()),
    )
    model = read_model(checkpoint, image_size=320)
    assert model.config.preprocess_config.image_size == 320
    ours = model.image_tower.positional_embedding
    assert (ours - state["visual.positional_embedding"]).abs().max() < 1e-6


def test_a_resnet_keeps_its_image_size():
    checkpoint_model = shallow(presets.rn50())
    reference = reference_model(checkpoint_model)
    checkpoint = Checkpoint(
        family="openai",
        path=Path("memory"),
        config=checkpoint_model,
        key_map=open_clip.key_map(checkpoint_model, ()),
        tensors=to_arrays(reference.state_dict()),
    )
    with pytest.raises(ConfigError, match="image_size: got 288 for a ResNet"):
        read_model(checkpoint, image_size=288)
