"""Directories of other programs: read, or said in one line to be what they are."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.checkpoints.formats.trainers_cases import OTHER_MODELS, VARIANTS, Case
from tests.checkpoints.formats.trainers_files import (
    State,
    a_model,
    line_of,
    place_of,
    tensors_of,
    write_plain,
)
from twinlens.checkpoints.reader import load_model
from twinlens.checkpoints.recognise import open_checkpoint
from twinlens.hub.resolve import resolve


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_plain(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def expected() -> State:
    return a_model().state_dict()


@pytest.mark.parametrize(("config", "word"), OTHER_MODELS)
@pytest.mark.parametrize("weights", [True, False])
def test_other_models_are_said_to_be_what_they_are(
    config: dict[str, object], word: str, weights: bool, tmp_path: Path
):
    (tmp_path / "config.json").write_text(json.dumps({**config, "hidden_size": 8}))
    if weights:
        save_file({"encoder.weight": torch.ones(2)}, tmp_path / "model.safetensors")
    asked = (lambda: open_checkpoint(tmp_path)), (lambda: open_checkpoint(resolve(tmp_path)))
    for call in asked:
        message = line_of(call)
        assert word in message
        assert "config.json: " in message
        assert "expected" in message
        assert message.startswith(str(tmp_path))


@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_under_other_names_are_named(
    variant: str, plain: dict[str, Path], tmp_path: Path, expected: State
):
    case = Case("hugging_face", True, "", (), "safetensors")
    path = place_of(case, plain, tmp_path / "model")
    save_file(tensors_of(plain, "hugging_face"), path.with_name(variant))
    message = line_of(lambda: resolve(path.parent))
    assert variant in message
    if variant.endswith((".h5", ".msgpack")):
        assert "expected safetensors or PyTorch's" in message
        return
    assert message.endswith(f"expected one to be named itself: {path.with_name(variant)}")
    got = load_model(resolve(path.with_name(variant))).state_dict()
    assert all(torch.equal(got[name], value) for name, value in expected.items())


def test_an_adapter_names_its_base(plain: dict[str, Path], tmp_path: Path):
    settings = {"peft_type": "LORA", "base_model_name_or_path": "openai/clip-vit-base-patch32"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    name = "base_model.model.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight"
    save_file({name: torch.ones(2, 2)}, tmp_path / "adapter_model.safetensors")
    message = line_of(lambda: resolve(tmp_path))
    assert "got a PEFT adapter ('LORA', of 'openai/clip-vit-base-patch32')" in message
    assert "merge it into its base model first" in message
    file = tmp_path / "adapter_model.safetensors"
    assert "a part of a LoRA adapter" in line_of(lambda: open_checkpoint(file))


def test_a_diffusers_pipeline_says_where_its_text_tower_is(tmp_path: Path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    assert "in the folders text_encoder" in line_of(lambda: resolve(tmp_path))


CLIP_MODULE = {"idx": 0, "name": "0", "type": "sentence_transformers.models.CLIPModel"}
TEXT_MODULE = {"idx": 0, "name": "0", "type": "sentence_transformers.models.Transformer"}
DENSE = {"idx": 1, "name": "1", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}
NORMALIZE = {"path": "1_Normalize", "type": "sentence_transformers.models.Normalize"}
POOLING = {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}


@pytest.mark.parametrize("modules", [[], [NORMALIZE]])
@pytest.mark.parametrize("folder", ["0_CLIPModel", ""])
def test_roots_of_sentence_transformers(
    folder: str,
    modules: list[dict[str, object]],
    plain: dict[str, Path],
    tmp_path: Path,
    expected: State,
):
    first = (CLIP_MODULE if folder else TEXT_MODULE) | {"path": folder}
    shutil.copytree(plain["hugging_face"], tmp_path / "root" / folder)
    (tmp_path / "root" / "modules.json").write_text(json.dumps([first, *modules]))
    assert resolve(tmp_path / "root") == tmp_path / "root" / folder
    for path in (tmp_path / "root", resolve(tmp_path / "root")):
        got = load_model(path).state_dict()
        assert all(torch.equal(got[name], value) for name, value in expected.items())


@pytest.mark.parametrize(
    "modules",
    [
        [CLIP_MODULE | {"path": "0_CLIPModel"}, DENSE],
        [TEXT_MODULE | {"path": "0_Transformer"}, POOLING, DENSE],
        [TEXT_MODULE | {"path": ""}, POOLING],
        [],
    ],
)
def test_other_modules_of_sentence_transformers(modules: object, tmp_path: Path):
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    message = line_of(lambda: resolve(tmp_path))
    assert "got a sentence-transformers model of " in message
    assert "expected CLIPModel alone" in message


@pytest.mark.parametrize(
    "content",
    ["", "{", "3", "[3]", '[{"type": "x"}]', '[{"type": 3, "path": ""}]', "[" * 100_000]
    + [json.dumps([CLIP_MODULE | {"path": path}]) for path in ("../x", "/etc", "a\\b")],
)
def test_damaged_modules(content: str, tmp_path: Path):
    (tmp_path / "modules.json").write_text(content)
    assert "modules.json: got " in line_of(lambda: resolve(tmp_path))
