"""`load`: a model's name to an embedder."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

from twinlens.checkpoints.head import load_head
from twinlens.checkpoints.weights import open_weights
from twinlens.config import Activation
from twinlens.embed.embedder import Embedder
from twinlens.errors import require_known
from twinlens.hub.resolve import known_models, resolve
from twinlens.images.drawing_detector import load_drawing_detector
from twinlens.inference.engine_choice import load_engine
from twinlens.text.loading import load_tokenizer
from twinlens.types import DecodeMode, EngineChoice, Precision, TowerSelection


def available_models() -> list[str]:
    """The names that `load` takes without a download."""
    return [model.name for model in known_models()]


def load(
    name: str | Path = "icons",
    *,
    engine: EngineChoice = "auto",
    device: str = "auto",
    precision: Precision = "auto",
    towers: TowerSelection = "both",
    image_size: int | None = None,
    activation: Activation | None = None,
    decode: DecodeMode = "fast",
    compiled: bool = False,
) -> Embedder:
    """Load a model by name; its checkpoint may have the layout of any known family.

    Args:
        name: "icons" (embedded in the package), a known name such as "openai/ViT-B-32", a
            directory or file of weights, or `hf://org/name[@revision]`.
        engine: "auto" is "openvino" on a processor, and "torch" on GPUs, for `compiled` and for
            precisions that OpenVINO has not got here. One engine a process is fastest.
        device: "cpu", "cuda", "cuda:1", "mps", or "auto": CUDA, else Apple's, else the
            processor.
        precision: "auto" is "bf16" where the towers have more than 50 million parameters and the
            device multiplies bf16 natively, "fp16" where it only does that, else "fp32". "int8"
            has weights and activations of the linear layers in 8 bits, "int8-weights" the weights
            alone, for little memory; both on processors, and not to be saved or trained.
        towers: Read "both", or only the "image" or "text" tower.
        image_size: For images of another size than the checkpoint's: a vision transformer's
            positions are resized.
        activation: Of a state dict without a configuration, which cannot tell.
        decode: How images become pixels: "fast", or "exact" as the reference implementations
            (see `to_pixels`).
        compiled: Compile the torch image tower when it is first used: for long work on GPUs.

    Raises:
        UnknownNameError: There is no model of that name; close names are suggested.
        CheckpointError: The checkpoint cannot be read, or is not what its configuration says.
        ConfigError: It has not got the tower, another image size is impossible, or the engine
            has not got the device or the precision.
        MissingExtraError: The torch engine is needed, and torch is not installed.
    """
    require_known("towers", towers, get_args(TowerSelection))
    path = resolve(name)
    weights = open_weights(path, towers, image_size, activation)
    with ThreadPoolExecutor(1) as pool:  # a vocabulary takes as long as the runtime's import
        has_texts = weights.config.text is not None
        tokenizer = pool.submit(load_tokenizer, path, weights.config) if has_texts else None
        chosen = load_engine(weights, engine, device=device, precision=precision, compiled=compiled)
    return Embedder(
        chosen,
        tokenizer and tokenizer.result(),
        head=load_head(path, weights.config.embed_dim),
        decode=decode,
        drawing_test=load_drawing_detector(path),
    )
