"""Weights on disk: there and back, and every way a directory can be wrong."""

import json
import resource
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tiny import tiny_clip
from twinlens.checkpoints.native import save_model
from twinlens.checkpoints.reader import load_model
from twinlens.errors import CheckpointError, ConfigError, UnknownNameError
from twinlens.text.loading import load_tokenizer


def test_a_directory_holds_plain_files_and_nothing_of_a_killed_save(tmp_path: Path):
    (tmp_path / "model.safetensors.0123abcd.partial").write_bytes(b"half")
    save_model(tiny_clip(), tmp_path)
    expected = ["checksums.json", "config.json", "model.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == expected
    (tmp_path / "plain").touch()
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert modes == {(tmp_path / "plain").stat().st_mode}


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_there_and_back(kind: str, tmp_path: Path):
    model = tiny_clip(kind, logit_bias=True)
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    assert again.config == model.config
    assert again.state_dict().keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    assert not again.training


def test_half_precision_on_disk_is_float32_in_memory(tmp_path: Path):
    model = tiny_clip()
    save_model(model, tmp_path, dtype=torch.float16)
    assert load_file(tmp_path / "model.safetensors")["logit_scale"].dtype == torch.float16
    again = load_model(tmp_path)
    assert again.logit_scale.dtype == torch.float32
    torch.testing.assert_close(
        again.text_tower.projection, model.text_tower.projection, atol=1e-3, rtol=1e-3
    )


def test_all_differences_are_listed_at_once(tmp_path: Path):
    save_model(tiny_clip(), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["logit_scale"]
    tensors["surprise"] = torch.zeros(1)
    tensors["text_tower.projection"] = torch.zeros(2, 2)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError) as error:
        load_model(tmp_path)
    for part in (
        "missing logit_scale",
        "unexpected surprise",
        "text_tower.projection is [2, 2] instead of [16, 8]",
    ):
        assert part in str(error.value)


def test_a_checkpoint_of_another_architecture(tmp_path: Path):
    save_model(tiny_clip("resnet"), tmp_path / "resnet")
    save_model(tiny_clip("vit"), tmp_path / "vit")
    (tmp_path / "resnet" / "model.safetensors").replace(tmp_path / "vit" / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"missing image_tower\.class_embedding"):
        load_model(tmp_path / "vit")


def test_damaged_directories_are_named(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"got no config\.json"):
        load_model(tmp_path)
    save_model(tiny_clip(), tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: cannot be read"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"config\.json: cannot be read"):
        load_model(tmp_path)


def test_an_unknown_key_of_the_configuration_is_an_error(tmp_path: Path):
    save_model(tiny_clip(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["logit_biases"] = config.pop("logit_bias")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnknownNameError, match="'logit_biases': did you mean 'logit_bias'"):
        load_model(tmp_path)


def test_a_vocabulary_of_another_size(tmp_path: Path):
    model = tiny_clip()
    with pytest.raises(CheckpointError, match=r"got a vocabulary of 49408, expected vocab_size=64"):
        load_tokenizer(tmp_path, model.config)


def test_a_full_disk_keeps_what_was_there(tmp_path: Path):
    model = tiny_clip()
    save_model(model, tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(CheckpointError, match=r"model\.safetensors: could not be written"):
            save_model(model, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []
