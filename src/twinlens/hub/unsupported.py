"""Describe directories that hold no model twinlens can read, with a hint where to look."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, cast

from twinlens.config_io import read_json_object
from twinlens.errors import CheckpointError, ConfigError, one_line

MODULES_FILE = "modules.json"
ADAPTER_FILE = "adapter_config.json"
PIPELINE_FILE = "model_index.json"

_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".npz", ".tar")
_OTHER_LIBRARIES = {".h5": "TensorFlow", ".msgpack": "Flax", ".ot": "Rust", ".onnx": "ONNX"}
HF_MODEL_TYPES = (  # a tuple: a file may have an unhashable value there
    *("clip", "clip_text_model", "clip_vision_model"),
    *("siglip", "siglip_text_model", "siglip_vision_model"),
)
"""Types of `transformers` models that are read."""

_OTHER_MODEL_TYPES = {
    "a model of texts alone": (
        *("albert", "bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "gemma"),
        *("gpt2", "llama", "mistral", "modernbert", "mpnet", "qwen2", "qwen3", "roberta", "t5"),
        *("mt5", "xlm-roberta"),
    ),
    "a model of images alone": (
        *("beit", "convnext", "convnextv2", "deit", "dinov2", "dinov3_vit", "hiera", "ijepa"),
        *("mobilenet_v2", "resnet", "sam", "segformer", "swin", "swinv2", "vit", "vit_mae"),
    ),
    "a model of images and texts, but of another architecture": (
        *("align", "altclip", "blip", "blip-2", "bridgetower", "chinese_clip", "clipseg", "clvp"),
        *("flava", "florence2", "git", "groupvit", "instructblip", "llava", "metaclip_2"),
        *("owlv2", "owlvit", "paligemma", "siglip2", "vilt", "vision-text-dual-encoder", "xclip"),
    ),
}
_EXPECTED = (
    "clip or siglip, one of their towers (clip_text_model, clip_vision_model, siglip_text_model, "
    "siglip_vision_model), or twinlens's own config.json"
)


def describe_other_model(data: Mapping[str, Any]) -> str | None:
    """Describe a foreign `config.json` as "got, expected"; None if twinlens may read it."""
    if "_class_name" in data:
        return (
            f"got {_short_repr(data['_class_name'])}, a part of a diffusers pipeline, expected "
            "CLIP: the pipeline's text tower is in its folder text_encoder"
        )
    if "model_type" in data or "architectures" in data:
        named, model_type = data.get("architectures"), data.get("model_type")
        classes = cast("list[object]", named) if isinstance(named, list) else []
        kind = next(
            (kind for kind, types in _OTHER_MODEL_TYPES.items() if model_type in types),
            "another model",
        )
        what = [_short_repr(model_type)] if "model_type" in data else ["no model_type"]
        what += [f"({_short_repr(one)})" for one in classes[:1]]
        return f"model_type: got {' '.join(what)}, {kind}, expected {_EXPECTED}"
    if "architecture" in data:
        return (
            f"got {_short_repr(data['architecture'])}, a timm model of images alone, expected a "
            "model of images and texts"
        )
    return None


def find_model_root(directory: Path) -> Path:
    """Return the directory of a model's files: a subfolder for sentence-transformers' models.

    Raises:
        CheckpointError: It is a sentence-transformers model without CLIP, or with other modules
            that change CLIP's outputs.
    """
    if not (directory / MODULES_FILE).is_file():
        return directory
    modules = _read_modules(directory / MODULES_FILE)
    kinds = [kind for kind, _ in modules]
    extra = [kind for kind in kinds[1:] if kind not in ("Normalize", "Pooling")]
    if not modules or extra or (kinds[0] != "CLIPModel" and "Pooling" in kinds):
        raise CheckpointError(
            f"{directory}: got a sentence-transformers model of {', '.join(kinds) or 'nothing'}, "
            "expected CLIPModel alone: the other modules are not read, and change the answers"
        )
    return directory / modules[0][1]


def _read_modules(path: Path) -> list[tuple[str, str]]:
    """Return the type and the folder of each module."""
    try:
        modules: list[tuple[str, str]] = []
        for module in json.loads(path.read_text(encoding="utf-8")):
            folder = PurePosixPath(module["path"])
            if folder.is_absolute() or ".." in folder.parts or "\\" in str(folder):
                raise ValueError(f"got the path {str(folder)[:100]!r}")
            modules.append((_short_repr(module["type"].rpartition(".")[2]).strip("'"), str(folder)))
        return modules
    # The last three: a value of an unexpected type.
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: got {type(error).__name__}: {one_line(error, limit=200)}, "
            "expected a list of modules, each with its path and type"
        ) from error


def describe_contents(directory: Path, names: Sequence[str]) -> str:
    """Describe the contents of a directory without a known layout; empty if nothing is recognised.

    Args:
        directory: The directory.
        names: Names of the configuration files in it.
    """
    if (directory / ADAPTER_FILE).is_file():
        return _describe_adapter(directory / ADAPTER_FILE)
    if (directory / PIPELINE_FILE).is_file():
        return (
            f"got a diffusers pipeline ({PIPELINE_FILE}), expected one model: its text towers are "
            "in the folders text_encoder and text_encoder_2, where it has them"
        )
    if "config.json" in names:
        data = _read_config(directory / "config.json")
        is_own = data.get("model_type") in HF_MODEL_TYPES
        if not is_own and (what := describe_other_model(data)) is not None:
            return f"config.json: {what}"
    return _describe_weight_files(directory)


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        return read_json_object(path)
    except ConfigError:
        return {}


def _describe_adapter(path: Path) -> str:
    data = _read_config(path)
    kind, base = data.get("peft_type"), data.get("base_model_name_or_path")
    return (
        f"got a PEFT adapter ({_short_repr(kind or 'of no kind')}, of "
        f"{_short_repr(base or 'no named base')}), expected whole weights: "
        "merge it into its base model first (merge_and_unload, then save_pretrained), or name "
        "the base model alone"
    )


def _describe_weight_files(directory: Path) -> str:
    """Describe weights under names that no layout has; empty if there are none."""
    try:
        names = sorted(path.name for path in directory.iterdir() if path.is_file())
    except OSError:
        return ""
    # Of sharded weights, only the index is listed.
    weights = [n for n in names if n.endswith(_WEIGHT_SUFFIXES) and "-of-" not in n]
    weights += [n for n in names if ".index." in n and n.endswith(".json")]
    if weights:
        listed = ", ".join(weights[:3]) + (", ..." if len(weights) > 3 else "")
        return (
            f"got weights under other names ({listed}), expected one to be named itself: "
            f"{directory / weights[0]}"
        )
    for name in names:
        library = _OTHER_LIBRARIES.get(Path(name).suffix)
        if library is not None:
            return f"got weights of {library} alone ({name}), expected safetensors or PyTorch's"
    return ""


def _short_repr(value: object) -> str:
    """Represent a value of a file in one short line."""
    return repr(value if isinstance(value, str | int | float) else type(value).__name__)[:100]
