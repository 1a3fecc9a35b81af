"""What is written is the same model elsewhere: from layout to layout, and in Stable Diffusion."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.checkpoints.formats import reference
from tests.tiny import CLIP_VOCABULARY, tiny_clip, tiny_config
from twinlens.checkpoints.formats.open_clip import timm_siglip
from twinlens.checkpoints.native import save_model
from twinlens.config import PreprocessConfig, TextConfig
from twinlens.embed.embedder import Embedder
from twinlens.embed.loading import load
from twinlens.export.convert import write_checkpoint
from twinlens.model.clip import CLIP
from twinlens.text.clip_bpe import Tokenizer


@pytest.fixture
def siglip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small SigLIP in our layout, of a size that timm would have a name for."""
    size = timm_siglip._TowerSize(width=32, layers=2, heads=2, mlp_width=None)
    monkeypatch.setitem(timm_siglip._TOWER_SIZES, "base", size)
    words = reference.piece_vocabulary(tmp_path / "vocabulary", "canonicalize")
    config = replace(
        tiny_config(),
        embed_dim=32,
        vision=timm_siglip.tower_config("vit_base_patch32_siglip_256"),
        text=TextConfig(
            context_length=16,
            vocab_size=words.vocab_size,
            width=16,
            layers=2,
            heads=2,
            activation="gelu_tanh",
            norm_eps=1e-6,
            causal=False,
            pooling="last",
            projection="affine",
        ),
        logit_bias=True,
        tokenizer="tokenizer.json",
        text_cleaning="canonicalize",
        preprocess=PreprocessConfig(
            image_size=256, resize="squash", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
        ),
        templates=("{} on a table",),
    )
    save_model(reference.shaken(CLIP(config)), tmp_path / "native", words)
    return tmp_path / "native"


def test_siglip_from_native_to_hf_to_open_clip_to_native_keeps_every_bit(
    siglip: Path, tmp_path: Path
):
    place = siglip
    for layout in ("hf", "open_clip", "native"):
        lens = load(place, device="cpu", precision="fp32")
        place = tmp_path / f"as {layout}"
        write_checkpoint(lens, place, layout)
    before, after = (load_file(where / "model.safetensors") for where in (siglip, place))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    first, last = (load(where, device="cpu", precision="fp32") for where in (siglip, place))
    assert first.config == last.config
    texts = ["A Photo of the large_dog!", "isn't here"]
    assert np.array_equal(first.tokenizer(texts, 64), last.tokenizer(texts, 64))


@pytest.mark.filterwarnings("ignore")  # of what diffusers deprecates
def test_stable_diffusion_takes_what_is_written_as_its_text_encoder(tmp_path: Path):
    import diffusers  # noqa: PLC0415  it takes seconds to import

    model = tiny_clip(vocab_size=CLIP_VOCABULARY, context_length=77, embed_dim=16)
    lens = Embedder.from_model(model, Tokenizer.clip(), device="cpu", precision="fp32")
    write_checkpoint(lens, tmp_path / "model", "hf")
    from_directory = [
        getattr(reference.transformers, name).from_pretrained(tmp_path / "model")
        for name in ("CLIPTextModel", "CLIPTokenizer")
    ]
    pipeline = small_pipeline(diffusers, *from_directory, width=lens.config.text_config.width)
    prompt = "a cat on a mat, and a tree"
    theirs = pipeline.encode_prompt(
        prompt, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
    )[0]
    tokens = torch.from_numpy(lens.tokenizer([prompt], 77))
    with torch.no_grad():
        tower = lens.model.text_tower
        ours = tower.final_norm(tower.hidden_states(tokens)[-1])
    seen = int(tokens.argmax()) + 1  # the padding behind the end has other ids there
    assert ((ours - theirs)[:, :seen].norm() / theirs[:, :seen].norm()) < 2e-5
    images = pipeline(prompt, num_inference_steps=1, output_type="np").images
    assert images.shape[0] == 1


def small_pipeline(diffusers, encoder, tokenizer, *, width: int):
    """A Stable Diffusion of random weights around a text encoder."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipeline = diffusers.StableDiffusionPipeline(
            text_encoder=encoder,
            tokenizer=tokenizer,
            unet=diffusers.UNet2DConditionModel(
                block_out_channels=(8, 8),
                layers_per_block=1,
                sample_size=8,
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
                cross_attention_dim=width,
                norm_num_groups=4,
                attention_head_dim=4,
            ),
            vae=diffusers.AutoencoderKL(
                block_out_channels=[8],
                down_block_types=["DownEncoderBlock2D"],
                up_block_types=["UpDecoderBlock2D"],
                latent_channels=4,
                norm_num_groups=4,
            ),
            scheduler=diffusers.DDIMScheduler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
