"""Checkpoints of any family: recognised by what is in them, and opened."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Literal

from torch import Tensor

from twinlens.checkpoints.checksums import check_files, read_checksums
from twinlens.checkpoints.formats import big_vision, hugging_face, open_clip, openai
from twinlens.checkpoints.formats.key_map import Link, Linked, same
from twinlens.checkpoints.formats.storage.tensors import Renamed, open_sharded, open_tensors
from twinlens.checkpoints.formats.trainers import model_names
from twinlens.checkpoints.mismatch import differences
from twinlens.checkpoints.native import CONFIG_FILE, WEIGHTS_FILE
from twinlens.config import Activation, CLIPConfig, ResNetConfig, TextConfig, ViTConfig
from twinlens.config_io import from_file, read_plain_json
from twinlens.errors import CheckpointError, ConfigError, TwinlensError
from twinlens.hub import to_stderr
from twinlens.hub.layouts import layout_of, missing
from twinlens.hub.strangers import model_root, other_model
from twinlens.model.meta import meta_model
from twinlens.text.loading import TOKENIZER_FILE

Family = Literal["native", "openai", "open_clip", "hugging_face", "big_vision"]

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
        sums: The checksums of its tensors, where it has any.
    """

    family: Family
    path: Path
    config: CLIPConfig
    links: Sequence[Link]
    tensors: Mapping[str, Tensor]
    ignored: Callable[[str], bool] = lambda name: False
    sums: Mapping[str, str] = field(default_factory=dict[str, str])

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
        path: A directory in our layout, Hugging Face's, open_clip's or sentence-transformers'; or
            a file of weights, with its configuration beside it or, where shapes tell enough,
            without: OpenAI's TorchScript archive, a state dict or a trainer's checkpoint in any of
            these names, or SigLIP's `.npz`.
        activation: Of weights without a configuration, which cannot tell; OpenAI's own files need
            none.

    Raises:
        CheckpointError: It is none of these, or damaged, or asks for what twinlens cannot do.
        ConfigError: Its configuration is wrong.
    """
    path = Path(path)
    if path.is_file():
        return _open_file(path, _weights(path), activation)
    path = model_root(path)
    layout = layout_of(path)
    if layout is None:
        raise CheckpointError(f"{path}: {missing(path)}")
    weights = path / next(name for name in layout.weights if (path / name).is_file())
    return _open_layout(path, weights, layout.config)


def _weights(path: Path) -> Mapping[str, Tensor]:
    """The model's tensors in a file or in those that an index names, without wrappers."""
    is_index = path.suffix == ".json" and ".index." in path.name
    tensors = (open_sharded if is_index else open_tensors)(path)
    adapter = next((n for n in tensors if any(p.startswith("lora_") for p in n.split("."))), None)
    if adapter is not None:
        raise CheckpointError(
            f"{path}: got {adapter[:100]}, a part of a LoRA adapter, expected whole weights: "
            "merge it into its base model first"
        )
    names = model_names(tensors, path, say_once)
    return tensors if names is None else Renamed(tensors, names)


@cache
def say_once(message: str) -> None:
    """A line on stderr, once however often a file is opened."""
    to_stderr(message)


def _open_layout(
    path: Path, weights: Path, config: str, tensors: Mapping[str, Tensor] | None = None
) -> Checkpoint:
    """Weights that a configuration beside them describes.

    Args:
        path: What messages begin with.
        weights: The file of weights, or its index.
        config: The name of the configuration.
        tensors: The weights, if they were opened before.
    """
    beside = weights.parent / config
    data = read_plain_json(beside)
    is_other = config != open_clip.CONFIG_FILE and not hugging_face.matches(data)
    if is_other and (other := other_model(data)) is not None:
        raise CheckpointError(f"{beside}: {other}")
    tensors = _weights(weights) if tensors is None else tensors
    if config == open_clip.CONFIG_FILE:
        return _open_open_clip(path, beside.parent, tensors)
    if hugging_face.matches(data):
        described = hugging_face.read_config(beside.parent, alone=path.is_file())
        return _hugging_face(path, described, tensors)
    return _open_native(path, weights, tensors, from_file(CLIPConfig, data, beside))


def _open_native(
    path: Path, weights: Path, tensors: Mapping[str, Tensor], config: CLIPConfig
) -> Checkpoint:
    config = _with_bias(config, tensors)
    _require_layers(config, tensors, path)
    links = [same(name, name) for name in meta_model(config).state_dict()]
    sums: Mapping[str, str] = {}
    checksums = read_checksums(weights.parent)
    if checksums is not None:
        check_files(weights.parent, checksums, (CONFIG_FILE, TOKENIZER_FILE))
        sums = checksums.tensors if weights.name == WEIGHTS_FILE else {}
    return Checkpoint(
        family="native",
        path=path,
        config=config,
        links=links,
        tensors=tensors,
        sums=sums,
    )


def _hugging_face(path: Path, config: CLIPConfig, tensors: Mapping[str, Tensor]) -> Checkpoint:
    config = _with_bias(config, tensors)
    _require_layers(config, tensors, path)
    return Checkpoint(
        family="hugging_face",
        path=path,
        config=config,
        links=hugging_face.links(config, tensors),
        tensors=tensors,
        ignored=hugging_face.ignored,
    )


def _open_open_clip(path: Path, directory: Path, tensors: Mapping[str, Tensor]) -> Checkpoint:
    config = _with_bias(open_clip.read_config(directory, tensors), tensors)
    _require_layers(config, tensors, path)
    return Checkpoint(
        family="open_clip",
        path=path,
        config=config,
        links=open_clip.links(config, tensors),
        tensors=tensors,
        ignored=open_clip.ignored,
    )


def _with_bias(config: CLIPConfig, tensors: Mapping[str, Tensor]) -> CLIPConfig:
    """The configuration with the bias of the logits that the weights have, if it names none."""
    both = config.vision is not None and config.text is not None
    has_bias = config.logit_bias or (both and "logit_bias" in tensors)
    return replace(config, logit_bias=has_bias)


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


def _open_file(
    path: Path, tensors: Mapping[str, Tensor], activation: Activation | None
) -> Checkpoint:
    """Weights by their names: with the configuration of these names beside them, or without."""
    if big_vision.matches(tensors):
        return _open_big_vision(path, tensors)
    is_native = any(name.startswith(("image_tower.", "text_tower.")) for name in tensors)
    is_hugging_face = hugging_face.named(tensors)
    is_openai_s_own = all(name in tensors for name in openai.MARKS)
    names = "config.json" if is_native or is_hugging_face else open_clip.CONFIG_FILE
    beside = path.parent / names
    if not is_openai_s_own and beside.is_file() and _describes(beside, native=is_native):
        found = _open_layout(path, path, names, tensors)
        for tower in (found.config.vision, found.config.text):
            if isinstance(tower, ViTConfig | TextConfig):
                _refuse_another(activation, tower.activation, path)
        return found
    if is_native or hugging_face.is_siglip(tensors):
        files = "config.json" if is_native else "config.json, preprocessor_config.json"
        whose = "twinlens's own" if is_native else "SigLIP's"
        raise CheckpointError(
            f"{path}: got {whose} weights alone, whose shapes do not tell all of the architecture, "
            f"expected the model's {files} and tokenizer.json beside them"
        )
    if is_openai_s_own:
        _refuse_another(activation, "quick_gelu", path)
        activation = "quick_gelu"  # OpenAI's weights always are
    if activation is None:
        raise CheckpointError(
            f"{path}: a state dict without a configuration does not tell its activation, "
            "expected quick_gelu (OpenAI, MetaCLIP, DFN) or gelu (LAION, DataComp) to be named: "
            f"convert --activation, or load(activation=); or {names} beside it"
        )
    return _inferred(path, tensors, activation, is_hugging_face=is_hugging_face)


def _describes(beside: Path, *, native: bool) -> bool:
    """Whether a configuration beside a file may be of its names, and not of something else."""
    if beside.name == open_clip.CONFIG_FILE:
        return True
    data = read_plain_json(beside)
    return other_model(data) is None if native else hugging_face.matches(data)


def _open_big_vision(path: Path, tensors: Mapping[str, Tensor]) -> Checkpoint:
    with _naming(path):
        config = big_vision.infer_config(tensors)
    return Checkpoint(
        family="big_vision",
        path=path,
        config=config,
        links=big_vision.links(config, tensors),
        tensors=tensors,
    )


def _inferred(
    path: Path, tensors: Mapping[str, Tensor], activation: Activation, *, is_hugging_face: bool
) -> Checkpoint:
    """Weights whose shapes tell their architecture."""
    family = hugging_face if is_hugging_face else openai
    with _naming(path):
        config = family.infer_config(tensors, activation)
    if is_hugging_face:
        return _hugging_face(path, config, tensors)
    return Checkpoint(
        family="openai",
        path=path,
        config=config,
        links=openai.links(config, text_prefix=openai.text_prefix_of(tensors)),
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
