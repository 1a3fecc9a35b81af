"""Checkpoints of any family: recognised by what is in them, opened, and read into a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.overrides import TorchFunctionMode

from twinlens.config import Activation, CLIPConfig, ResNetConfig, ViTConfig
from twinlens.errors import CheckpointError, ConfigError, TwinlensError
from twinlens.hub.layouts import layout_of, missing
from twinlens.model.clip import CLIP, INITIAL_LOGIT_SCALE
from twinlens.model.differences import differences
from twinlens.model.formats import big_vision, hugging_face, open_clip, openai
from twinlens.model.formats.links import Link, Linked, same
from twinlens.model.formats.storage.tensors import (
    open_sharded,
    open_tensors,
    passing,
    require_finite,
)
from twinlens.settings import from_dict, read_plain_json

Family = Literal["native", "openai", "open_clip", "hugging_face", "big_vision"]
Towers = Literal["both", "image", "text"]

_POSITIONS = "image_tower.positional_embedding"
_LAYERS = 1000
"""Of a tower that is looked for in any file, so that all it lacks is listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint that was opened; its tensors are read when they are asked for.

    Attributes:
        family: Whose layout it has.
        path: Its directory or file.
        config: The model's.
        links: Where each of our tensors lies in it.
        tensors: Its own tensors by its own names.
        ignored: Tells names that carry no weights, such as those of masks.
    """

    family: Family
    path: Path
    config: CLIPConfig
    links: Sequence[Link]
    tensors: Mapping[str, Tensor]
    ignored: Callable[[str], bool] = lambda name: False

    def check(self, expected: Mapping[str, Tensor]) -> None:
        """Compare names, shapes and types with those of a model.

        Args:
            expected: The tensors of the towers that are wanted, by our names.

        Raises:
            CheckpointError: Tensors are missing, unexpected, of another shape, or of a type that
                no weights have; all are listed.
        """
        linked = Linked(self.links, self.tensors)
        known = {name for link in self.links for name in link.foreign}
        found = differences(
            missing=[
                name
                for link in self.links
                if link.native in expected
                for name in link.foreign
                if name not in self.tensors
            ],
            unexpected=[
                name for name in self.tensors if name not in known and not self.ignored(name)
            ],
            shapes={
                name: (shape, value.shape)
                for name, value in expected.items()
                if name in linked and (shape := linked[name].shape) != value.shape
            },
            types=self._wrong_types(expected),
        )
        if found:
            raise CheckpointError(f"{self.path}: does not fit its configuration: {found}")

    def _wrong_types(self, expected: Mapping[str, Tensor]) -> dict[str, tuple[str, str]]:
        """Whole and complex numbers where floats should be, of whatever size."""
        wrong: dict[str, tuple[str, str]] = {}
        for link in self.links:
            for name in link.foreign if link.native in expected else ():
                if name not in self.tensors:
                    continue
                got, wanted = self.tensors[name].dtype, expected[link.native].dtype
                if got.is_complex or (wanted.is_floating_point and not got.is_floating_point):
                    wrong[name] = (
                        str(got).removeprefix("torch."),
                        str(wanted).removeprefix("torch."),
                    )
        return wrong


def open_checkpoint(path: Path, *, activation: Activation | None = None) -> Checkpoint:
    """Open a checkpoint of any family.

    Args:
        path: A directory in our layout, Hugging Face's or open_clip's; or a file: OpenAI's
            TorchScript archive, a state dict in OpenAI's layout, or SigLIP's `.npz`.
        activation: Of a state dict without a configuration, which cannot tell; OpenAI's own
            files need none.

    Raises:
        CheckpointError: It is none of these, or damaged, or asks for what twinlens cannot do.
        ConfigError: Its configuration is wrong.
    """
    path = Path(path)
    if path.is_file():
        return _open_file(path, activation)
    layout = layout_of(path)
    if layout is None:
        raise CheckpointError(f"{path}: {missing(path)}")
    weights = path / next(name for name in layout.weights if (path / name).is_file())
    opens = open_sharded if weights.name.endswith(".index.json") else open_tensors
    config = read_plain_json(path / layout.config)
    tensors = opens(weights)
    if layout.kind == "open_clip":
        return _open_open_clip(path, tensors)
    if hugging_face.matches(config):
        return _open_hugging_face(path, tensors)
    return _open_native(path, tensors, config)


def _open_native(path: Path, tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> Checkpoint:
    config = from_dict(CLIPConfig, data)
    _require_layers(config, tensors, path)
    return Checkpoint(
        family="native",
        path=path,
        config=config,
        links=[same(name, name) for name in meta_model(config).state_dict()],
        tensors=tensors,
    )


def _open_hugging_face(path: Path, tensors: Mapping[str, Tensor]) -> Checkpoint:
    config = hugging_face.read_config(path)
    _require_layers(config, tensors, path)
    return Checkpoint(
        family="hugging_face",
        path=path,
        config=config,
        links=hugging_face.links(config, tensors),
        tensors=tensors,
        ignored=hugging_face.ignored,
    )


def _open_open_clip(path: Path, tensors: Mapping[str, Tensor]) -> Checkpoint:
    config = open_clip.read_config(path, tensors)
    _require_layers(config, tensors, path)
    return Checkpoint(
        family="open_clip",
        path=path,
        config=config,
        links=open_clip.links(config, tensors),
        tensors=tensors,
        ignored=open_clip.ignored,
    )


def _require_layers(config: CLIPConfig, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse more layers than a file can hold, before anything is made for each of them.

    Raises:
        CheckpointError: There are.
    """
    for tower in (config.vision, config.text):
        if tower is None:
            continue
        layers = sum(tower.layers) if isinstance(tower, ResNetConfig) else tower.layers
        if layers > max(len(tensors), _LAYERS):
            raise CheckpointError(
                f"{path}: got a configuration of {layers} layers and {len(tensors)} tensors, "
                "expected more tensors than layers"
            )


def _open_file(path: Path, activation: Activation | None) -> Checkpoint:
    tensors = open_tensors(path)
    if big_vision.matches(tensors):
        with _naming(path):
            config = big_vision.infer_config(tensors)
        return Checkpoint(
            family="big_vision",
            path=path,
            config=config,
            links=big_vision.links(config, tensors),
            tensors=tensors,
        )
    if all(name in tensors for name in openai.MARKS):
        _refuse_another(activation, "quick_gelu", path)
        activation = "quick_gelu"  # OpenAI's weights always are
    if activation is None:
        raise CheckpointError(
            f"{path}: a state dict without a configuration does not tell its activation, "
            "expected quick_gelu (OpenAI, MetaCLIP, DFN) or gelu (LAION, DataComp) to be named: "
            "convert --activation, or load(activation=)"
        )
    with _naming(path):
        config = openai.infer_config(tensors, activation)
    return Checkpoint(
        family="openai",
        path=path,
        config=config,
        links=openai.links(config),
        tensors=tensors,
        ignored=openai.ignored,
    )


def _refuse_another(asked: Activation | None, told: str, path: Path) -> None:
    if asked not in (None, told):
        raise ConfigError(
            f"activation: got {asked!r} for {path}, expected {told}, as the checkpoint tells itself"
        )


@contextmanager
def _naming(path: Path) -> Generator[None]:
    """Have errors about shapes, which know no file, begin with its path."""
    try:
        yield
    except TwinlensError as error:
        raise CheckpointError(f"{path}: {error}") from error


def load_model(
    path: Path,
    *,
    towers: Towers = "both",
    image_size: int | None = None,
    activation: Activation | None = None,
) -> CLIP:
    """Read a model; computation is in float32 whatever the type on disk.

    Args:
        path: Any checkpoint that `open_checkpoint` takes.
        towers: Only these towers' tensors are read and held.
        image_size: Another size of pictures than the checkpoint's: the positional embedding of a
            vision transformer is resized, bicubic as in open_clip.
        activation: See `open_checkpoint`.

    Raises:
        CheckpointError: Files are missing or damaged, or tensors do not fit the configuration;
            all that are missing, unexpected or of another shape are listed at once.
        ConfigError: The configuration is wrong, or the image size cannot be changed.
    """
    return read_model(open_checkpoint(path, activation=activation), towers, image_size)


def read_model(
    checkpoint: Checkpoint, towers: Towers = "both", image_size: int | None = None
) -> CLIP:
    """The model of an opened checkpoint: see `load_model`."""
    config = chosen_towers(checkpoint.config, towers)
    model = meta_model(config)
    expected = model.state_dict()
    if config.vision is None or config.text is None:
        del expected["logit_scale"]  # one tower has no logits, and its file may have no scale
    checkpoint.check(expected)
    wanted = [name for link in checkpoint.links if link.native in expected for name in link.foreign]
    for name, tensor in passing(checkpoint.tensors, dict.fromkeys(wanted)):
        require_finite(name, tensor, checkpoint.path)
    linked = Linked(checkpoint.links, checkpoint.tensors)
    tensors = {"logit_scale": torch.tensor(INITIAL_LOGIT_SCALE)}
    for name in expected:
        tensor = linked[name]
        tensors[name] = tensor.float() if tensor.is_floating_point() else tensor
    if image_size is not None and image_size != config.image_input.image_size:
        config = resized_config(config, image_size)
        model = meta_model(config)
        tensors[_POSITIONS] = resized_positions(tensors[_POSITIONS], config)
    model.load_state_dict(tensors, assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model.eval()


def chosen_towers(config: CLIPConfig, towers: Towers) -> CLIPConfig:
    """The configuration without the tower that is not wanted.

    Raises:
        ConfigError: The model has not got the one that is.
    """
    if towers == "image":
        _ = config.image_input
        return replace(config, text=None)
    if towers == "text":
        _ = config.text_input
        return replace(config, vision=None, preprocess=None)
    return config


def resized_config(config: CLIPConfig, image_size: int) -> CLIPConfig:
    """The configuration for pictures of another size.

    Raises:
        ConfigError: The image tower is no vision transformer, or its patches do not fit.
    """
    if not isinstance(config.vision, ViTConfig):
        raise ConfigError(
            f"image_size: got {image_size} for a ResNet, expected a vision transformer: "
            "only its positional embedding can be resized"
        )
    return replace(
        config,
        vision=replace(config.vision, image_size=image_size),
        preprocess=replace(config.image_input, image_size=image_size),
    )


def resized_positions(
    positions: Float[Tensor, "old width"], config: CLIPConfig
) -> Float[Tensor, "new width"]:
    """A positional embedding for the configuration's grid of patches; a class token's stays.

    Bicubic with anti-aliasing, as open_clip's `resize_pos_embed`.
    """
    assert isinstance(config.vision, ViTConfig)
    first = 1 if config.vision.pooling == "class" else 0
    new = config.vision.image_size // config.vision.patch_size
    old = math.isqrt(len(positions) - first)
    grid = positions[first:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, (new, new), mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([positions[:first], grid[0].flatten(1).T])


def meta_model(config: CLIPConfig) -> CLIP:
    """A model without memory: its names and shapes.

    Raises:
        ConfigError: A size is larger than that of any tensor.
    """
    try:
        with torch.device("meta"), _WithoutInitialisation():
            return CLIP(config)
    except (RuntimeError, TypeError) as error:
        if "overflow" not in str(error).lower():
            raise
        got = str(error).partition("\n")[0]
        raise ConfigError(
            f"sizes: got too large ones ({got}), expected those of weights"
        ) from error


class _WithoutInitialisation(TorchFunctionMode):
    """Leaves new parameters as they are.

    Drawing numbers for a model without memory would import torch's compiler, for a second.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)
