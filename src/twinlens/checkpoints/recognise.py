"""Open checkpoints of any family, recognised by their content."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from twinlens.checkpoints.checksums import read_checksums, verify_file_checksums
from twinlens.checkpoints.expected_weights import expected_weights
from twinlens.checkpoints.formats import big_vision, hugging_face, open_clip, openai
from twinlens.checkpoints.formats.key_map import KeyMapping, renamed, to_native_tensors
from twinlens.checkpoints.formats.storage.arrays import Array, is_float
from twinlens.checkpoints.formats.storage.tensors import RenamedTensors, open_sharded, open_tensors
from twinlens.checkpoints.formats.trainers import find_model_names
from twinlens.checkpoints.mismatch import describe_mismatch
from twinlens.config import Activation, CLIPConfig, ResNetConfig, TextConfig, ViTConfig
from twinlens.config_io import dataclass_from_json, read_json_object
from twinlens.errors import CheckpointError, ConfigError, TwinlensError, require_known
from twinlens.hub.layouts import CONFIG_FILE, WEIGHTS_FILE, describe_missing, find_layout
from twinlens.hub.resolve import print_to_stderr
from twinlens.hub.unsupported import describe_other_model, find_model_root
from twinlens.text.loading import TOKENIZER_FILE

CheckpointFamily = Literal["native", "openai", "open_clip", "hugging_face", "big_vision"]

_MAX_MISSING_LAYERS = 1000
"""Layers of a tower that any file may lack, so that all missing tensors are listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """An opened checkpoint; its tensors are read lazily.

    Attributes:
        family: The library whose layout it has.
        path: Its directory or file.
        config: The model's.
        key_map: The foreign names of each of our tensors.
        tensors: Its own tensors by its own names.
        is_ignored: True for names without weights, such as those of masks.
        checksums: The checksums of its tensors, where it has any.
    """

    family: CheckpointFamily
    path: Path
    config: CLIPConfig
    key_map: Sequence[KeyMapping]
    tensors: Mapping[str, Array]
    is_ignored: Callable[[str], bool] = lambda name: False
    checksums: Mapping[str, str] = field(default_factory=dict[str, str])

    def check_compatible(self, expected: Mapping[str, Array]) -> None:
        """Compare names, shapes and types with those of a model.

        Args:
            expected: The tensors of the towers that are wanted, by our names.

        Raises:
            CheckpointError: Tensors are missing, unexpected, of another shape, or of a type that
                no weights have; all are listed.
        """
        native_tensors = to_native_tensors(self.key_map, self.tensors)
        known = {name for mapping in self.key_map for name in mapping.foreign_names}
        found = describe_mismatch(
            missing=[
                name
                for mapping in self.key_map
                if mapping.native_name in expected
                for name in mapping.foreign_names
                if name not in self.tensors
            ],
            unexpected=[
                name for name in self.tensors if name not in known and not self.is_ignored(name)
            ],
            shapes={
                name: (shape, value.shape)
                for name, value in expected.items()
                if name in native_tensors and (shape := native_tensors[name].shape) != value.shape
            },
            types=self._dtype_mismatches(expected),
        )
        if found:
            raise CheckpointError(f"{self.path}: does not fit its configuration: {found}")

    def _dtype_mismatches(self, expected: Mapping[str, Array]) -> dict[str, tuple[str, str]]:
        """Integers and complex numbers where floating-point numbers of any size should be."""
        wrong: dict[str, tuple[str, str]] = {}
        for mapping in self.key_map:
            for name in mapping.foreign_names if mapping.native_name in expected else ():
                if name not in self.tensors:
                    continue
                got = self.tensors[name].dtype
                wanted = expected[mapping.native_name].dtype
                if got.kind == "c" or (is_float(wanted) and not is_float(got)):
                    wrong[name] = (got.name, wanted.name)
        return wrong


def open_checkpoint(path: Path, *, activation: Activation | None = None) -> Checkpoint:
    """Open a checkpoint of any family.

    Args:
        path: A directory in our layout, Hugging Face's, open_clip's or sentence-transformers'; or
            a file of weights, with its configuration in the same directory or, where shapes are
            enough, without: OpenAI's TorchScript archive, a state dict or a trainer's checkpoint
            with any of these names, or SigLIP's `.npz`.
        activation: That of weights without a configuration; OpenAI's own files need none.

    Raises:
        CheckpointError: It is none of these, or damaged, or asks for what twinlens cannot do.
        ConfigError: Its configuration is wrong, or states another activation.
        UnknownNameError: There is no such activation.
    """
    if activation is not None:
        require_known("activation", activation, get_args(Activation))
    path = Path(path)
    if path.is_file():
        return _open_file(path, _open_weights(path), activation)
    path = find_model_root(path)
    layout = find_layout(path)
    if layout is None:
        raise CheckpointError(f"{path}: {describe_missing(path)}")
    weights = path / next(name for name in layout.weights if (path / name).is_file())
    found = _open_configured(path, weights, layout.config)
    _check_recorded_activation(activation, found)
    return found


def _open_weights(path: Path) -> Mapping[str, Array]:
    """The model's tensors in a file or in those that an index names, without wrappers."""
    is_index = path.suffix == ".json" and ".index." in path.name
    tensors = (open_sharded if is_index else open_tensors)(path)
    adapter = next((n for n in tensors if any(p.startswith("lora_") for p in n.split("."))), None)
    if adapter is not None:
        raise CheckpointError(
            f"{path}: got {adapter[:100]}, a part of a LoRA adapter, expected whole weights: "
            "merge it into its base model first"
        )
    names = find_model_names(tensors, path, log_once)
    return tensors if names is None else RenamedTensors(tensors, names)


@cache
def log_once(message: str) -> None:
    """Print a line on stderr, once a process however often a file is opened."""
    print_to_stderr(message)


def _open_configured(
    path: Path, weights: Path, config: str, tensors: Mapping[str, Array] | None = None
) -> Checkpoint:
    """Open weights that have a configuration in their directory.

    Args:
        path: The beginning of messages.
        weights: The file of weights, or its index.
        config: The name of the configuration.
        tensors: The weights, if they were opened before.
    """
    config_path = weights.parent / config
    data = read_json_object(config_path)
    is_other = config != open_clip.CONFIG_FILE and not hugging_face.is_supported_config(data)
    if is_other and (other := describe_other_model(data)) is not None:
        raise CheckpointError(f"{config_path}: {other}")
    tensors = _open_weights(weights) if tensors is None else tensors
    if config == open_clip.CONFIG_FILE:
        described = open_clip.read_config(config_path.parent, tensors)
        return _open_foreign("open_clip", path, described, tensors)
    if hugging_face.is_supported_config(data):
        described = hugging_face.read_config(config_path.parent, allow_missing_files=path.is_file())
        return _open_foreign("hugging_face", path, described, tensors)
    return _open_native(path, weights, tensors, dataclass_from_json(CLIPConfig, data, config_path))


def _open_native(
    path: Path, weights: Path, tensors: Mapping[str, Array], config: CLIPConfig
) -> Checkpoint:
    config = _detect_logit_bias(config, tensors)
    _check_layer_count(config, tensors, path)
    mappings = [renamed(name, name) for name in expected_weights(config)]
    sums: Mapping[str, str] = {}
    checksums = read_checksums(weights.parent)
    if checksums is not None:
        verify_file_checksums(weights.parent, checksums, (CONFIG_FILE, TOKENIZER_FILE))
        sums = checksums.tensors if weights.name == WEIGHTS_FILE else {}
    return Checkpoint(
        family="native",
        path=path,
        config=config,
        key_map=mappings,
        tensors=tensors,
        checksums=sums,
    )


def _open_foreign(
    family: CheckpointFamily, path: Path, config: CLIPConfig, tensors: Mapping[str, Array]
) -> Checkpoint:
    """Open a checkpoint of another library with its configuration."""
    config = _detect_logit_bias(config, tensors)
    _check_layer_count(config, tensors, path)
    layout = hugging_face if family == "hugging_face" else open_clip
    return Checkpoint(
        family=family,
        path=path,
        config=config,
        key_map=layout.key_map(config, tensors),
        tensors=tensors,
        is_ignored=layout.is_ignored,
    )


def _detect_logit_bias(config: CLIPConfig, tensors: Mapping[str, Array]) -> CLIPConfig:
    """Add the bias of the logits to a configuration if the weights have it."""
    both = config.vision is not None and config.text is not None
    has_bias = config.logit_bias or (both and "logit_bias" in tensors)
    return replace(config, logit_bias=has_bias)


def _check_layer_count(config: CLIPConfig, tensors: Mapping[str, Array], path: Path) -> None:
    """Refuse more layers than a file can hold, before memory is used for each of them.

    Raises:
        CheckpointError: There are more.
    """
    for tower in (config.vision, config.text):
        if tower is None:
            continue
        layers = sum(tower.layers) if isinstance(tower, ResNetConfig) else tower.layers
        if layers > max(len(tensors), _MAX_MISSING_LAYERS):
            raise CheckpointError(
                f"{path}: got a configuration of {layers} layers and {len(tensors)} tensors, "
                "expected more tensors than layers"
            )


def _open_file(
    path: Path, tensors: Mapping[str, Array], activation: Activation | None
) -> Checkpoint:
    """Open weights by their names, with a configuration in their directory or without."""
    if big_vision.matches(tensors):
        return _open_big_vision(path, tensors)
    is_native = any(name.startswith(("image_tower.", "text_tower.")) for name in tensors)
    is_hugging_face = hugging_face.has_hugging_face_names(tensors)
    is_openai_s_own = all(name in tensors for name in openai.ARCHIVE_KEYS)
    names = "config.json" if is_native or is_hugging_face else open_clip.CONFIG_FILE
    config_path = path.parent / names
    if (
        not is_openai_s_own
        and config_path.is_file()
        and _is_matching_config(config_path, is_native=is_native)
    ):
        found = _open_configured(path, path, names, tensors)
        _check_recorded_activation(activation, found)
        return found
    if is_native or hugging_face.is_siglip(tensors):
        files = "config.json" if is_native else "config.json, preprocessor_config.json"
        whose = "twinlens's own" if is_native else "SigLIP's"
        raise CheckpointError(
            f"{path}: got {whose} weights alone, whose shapes do not tell all of the architecture, "
            f"expected the model's {files} and tokenizer.json beside them"
        )
    if is_openai_s_own:
        _check_activation(activation, "quick_gelu", path)
        activation = "quick_gelu"  # OpenAI's weights always are
    if activation is None:
        raise CheckpointError(
            f"{path}: a state dict without a configuration does not tell its activation, "
            "expected quick_gelu (OpenAI, MetaCLIP, DFN) or gelu (LAION, DataComp) to be named: "
            f"convert --activation, or load(activation=); or {names} beside it"
        )
    return _open_inferred(path, tensors, activation, is_hugging_face=is_hugging_face)


def _is_matching_config(config_path: Path, *, is_native: bool) -> bool:
    """True if a configuration next to a file can be the one of its names."""
    if config_path.name == open_clip.CONFIG_FILE:
        return True
    data = read_json_object(config_path)
    return (
        describe_other_model(data) is None if is_native else hugging_face.is_supported_config(data)
    )


def _open_big_vision(path: Path, tensors: Mapping[str, Array]) -> Checkpoint:
    with _prefix_errors(path):
        config = big_vision.infer_config(tensors)
    return Checkpoint(
        family="big_vision",
        path=path,
        config=config,
        key_map=big_vision.key_map(config, tensors),
        tensors=tensors,
    )


def _open_inferred(
    path: Path, tensors: Mapping[str, Array], activation: Activation, *, is_hugging_face: bool
) -> Checkpoint:
    """Open weights whose architecture is inferred from their shapes."""
    layout = hugging_face if is_hugging_face else openai
    with _prefix_errors(path):
        config = layout.infer_config(tensors, activation)
    return _open_foreign("hugging_face" if is_hugging_face else "openai", path, config, tensors)


def _check_recorded_activation(requested: Activation | None, checkpoint: Checkpoint) -> None:
    for tower in (checkpoint.config.vision, checkpoint.config.text):
        if isinstance(tower, ViTConfig | TextConfig):
            _check_activation(requested, tower.activation, checkpoint.path)


def _check_activation(requested: Activation | None, recorded: str, path: Path) -> None:
    if requested not in (None, recorded):
        raise ConfigError(
            f"activation: got {requested!r} for {path}, expected {recorded}, "
            "as the checkpoint states"
        )


@contextmanager
def _prefix_errors(path: Path) -> Generator[None]:
    """Prefix errors about shapes with the file's path."""
    try:
        yield
    except TwinlensError as error:
        raise CheckpointError(f"{path}: {error}") from error
