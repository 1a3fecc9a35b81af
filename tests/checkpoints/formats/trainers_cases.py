"""How trainers write weights: what they put before names, around them, and in which layout.

Plain data; `test_trainers.py` writes a file for each case and reads it again.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

PREFIXES = (
    "",
    "module.",
    "_orig_mod.",
    "model.",
    "clip.",
    "module._orig_mod.",
    "_orig_mod.module.",
    "model._orig_mod.",
    "_orig_mod.model.",
    "module.model.",
    "model.module.",
    "model.clip.",
    "clip.model.",
    "clip._orig_mod.",
    "module.module.",
    "model.module._orig_mod.clip.",
    "_orig_mod.clip.module.model.",
    "_forward_module.",
    "_forward_module.model.",
    "clip_model.",
    "net.",
    "student.model.",
    "model.backbone.clip.",
)
"""Of every name."""

INSIDE = (
    ("visual.", "visual._orig_mod."),
    ("visual.", "visual.module."),
    ("resblocks.0.", "resblocks.0._checkpoint_wrapped_module."),
    ("resblocks.1.", "resblocks.1._fsdp_wrapped_module."),
    ("resblocks.0.", "_fsdp_wrapped_module.resblocks.0._fsdp_wrapped_module."),
    ("vision_model.", "vision_model._orig_mod."),
    ("layers.0.", "layers.0._checkpoint_wrapped_module."),
    ("image_tower.", "image_tower.module."),
)
"""Parts that were compiled, sharded or recomputed alone: a piece of names, and what it became."""

WRAPPERS: tuple[tuple[str, ...], ...] = (
    (),
    ("state_dict",),
    ("model",),
    ("model_state_dict",),
    ("model_state",),
    ("module",),
    ("weights",),
    ("net",),
    ("clip",),
    ("ema",),
    ("state_dict_ema",),
    ("model_ema",),
    ("ema_state_dict",),
    ("model", "state_dict"),
    ("model_state_dict", "model"),
    ("checkpoint", "model"),
    ("state", "model", "state_dict"),
    ("ema", "module"),
    ("ema", "state_dict"),
    ("ema_model", "model"),
)
"""The keys under which the names lie, from the outermost."""

FILES = ("openai", "custom_text", "hugging_face")
"""Layouts that are told by names and shapes, with no configuration beside them."""

DIRECTORIES = ("native", "open_clip", "custom_text", "hugging_face")
"""Layouts with a configuration beside them."""

ENDINGS = ("pt", "bin", "ckpt", "pth.tar")


class Case(NamedTuple):
    """One file.

    Attributes:
        layout: Whose names it has.
        configured: Whether its configuration is beside it.
        prefix: Before every name.
        wrapper: The keys around the names; a file of safetensors has none.
        kind: What is written: "pickle", "legacy" (before torch 1.6) or "safetensors".
        ending: Of the file's name, where it is not one that a layout asks for.
    """

    layout: str
    configured: bool
    prefix: str
    wrapper: tuple[str, ...]
    kind: str
    ending: str = "pt"

    @property
    def name(self) -> str:
        """For the test's report."""
        where = "beside" if self.configured else "alone"
        return f"{self.layout}-{where}-{self.prefix}-{'/'.join(self.wrapper)}-{self.kind}"


def cases() -> list[Case]:
    """Every prefix and every wrapper in every layout, each met by several of the other."""
    found: list[Case] = []
    layouts = [(name, False) for name in FILES] + [(name, True) for name in DIRECTORIES]
    for number, (layout, configured) in enumerate(layouts):
        for i, prefix in enumerate(PREFIXES):
            wrapper = WRAPPERS[(i * 3 + number) % len(WRAPPERS)]
            kind = "legacy" if i % 5 == number % 5 else "pickle"
            ending = ENDINGS[i % len(ENDINGS)]
            found.append(Case(layout, configured, prefix, wrapper, kind, ending))
        for i, wrapper in enumerate(WRAPPERS):
            prefix = PREFIXES[(i * 7 + number) % len(PREFIXES)]
            found.append(Case(layout, configured, prefix, wrapper, "pickle"))
    plain = product(layouts, PREFIXES)
    found += [
        Case(layout, configured, prefix, (), "safetensors")
        for i, ((layout, configured), prefix) in enumerate(plain)
        if i % 2 == 0
    ]
    return list(dict.fromkeys(found))


AVERAGES: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("state_dict",), ("state_dict_ema",)),
    (("model",), ("ema",)),
    (("model",), ("model_ema",)),
    (("model_state_dict",), ("ema_state_dict",)),
    (("model", "state_dict"), ("ema", "state_dict")),
    (("state_dict",), ("averaged_model",)),
    (("model",), ("swa_model",)),
    (("model",), ("EMA",)),
)
"""Where a file has the raw weights, and where their moving average."""

FLAT_AVERAGES = (
    ("", "ema."),
    ("model.", "ema."),
    ("model.", "model_ema."),
    ("model.", "ema_model.module."),
    ("module.", "module_ema."),
    ("clip.", "swa_model.module."),
)
"""The same in one table: what the names begin with."""

LAYOUTS_WITH_A_BIAS = (
    ("openai", False),
    ("custom_text", False),
    ("hugging_face", False),
    ("native", True),
    ("open_clip", True),
    ("custom_text", True),
    ("hugging_face", True),
)
"""Sigmoid-trained weights, whose configuration, where there is one, does not name the bias."""

OTHER_MODELS: tuple[tuple[dict[str, object], str], ...] = (
    ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, "bert"),
    ({"model_type": "blip", "architectures": ["BlipForConditionalGeneration"]}, "blip"),
    ({"model_type": "vit", "architectures": ["ViTForImageClassification"]}, "vit"),
    ({"model_type": "dinov2", "architectures": ["Dinov2Model"]}, "dinov2"),
    ({"model_type": "siglip2", "architectures": ["Siglip2Model"]}, "siglip2"),
    ({"model_type": "align", "architectures": ["AlignModel"]}, "align"),
    ({"model_type": "clipseg", "architectures": ["CLIPSegForImageSegmentation"]}, "clipseg"),
    ({"model_type": "chinese_clip", "architectures": ["ChineseCLIPModel"]}, "chinese_clip"),
    ({"model_type": "xlm-roberta", "architectures": ["XLMRobertaModel"]}, "xlm-roberta"),
    ({"model_type": "llava", "architectures": ["LlavaForConditionalGeneration"]}, "llava"),
    ({"model_type": "made_up_for_this"}, "made_up_for_this"),
    ({"architectures": ["BertModel"]}, "BertModel"),
    ({"_class_name": "UNet2DConditionModel", "_diffusers_version": "0.42.1"}, "UNet2DCondition"),
    ({"_class_name": "AutoencoderKL", "_diffusers_version": "0.42.1"}, "AutoencoderKL"),
    ({"architecture": "vit_base_patch16_224", "num_classes": 1000}, "vit_base_patch16_224"),
)
"""Configurations of models that are not read, and the word that says what each is."""

VARIANTS = (
    "model.fp16.safetensors",
    "model.bf16.safetensors",
    "pytorch_model.fp16.bin",
    "model.non_ema.safetensors",
    "model.ema.safetensors",
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.fp16.bin",
    "tf_model.h5",
    "flax_model.msgpack",
    "adapter_model.safetensors",
    "weights.pt",
)
"""Files beside a `config.json` that are not under a name the layout looks for."""
