"""Fine-tuning: what is locked, how fast the rest learns, adapters, classifiers, interpolation."""

import builtins
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import twinlens
from tests.tiny import tiny_clip
from tests.train.runs import squares, tiny_recipe
from twinlens.data.datasets import Dataset
from twinlens.embed.probe import LabelledFeatures, fit_linear_probe
from twinlens.errors import CheckpointError, ConfigError, DataError, MissingExtraError
from twinlens.model.clip import CLIP
from twinlens.train.finetune.classifier import ClassifierModule
from twinlens.train.finetune.initial import fit_initial_head, load_initial_state
from twinlens.train.finetune.layers import (
    interpolate_weights,
    layer_lr_scales,
    lock_layers,
    set_train_mode,
)
from twinlens.train.finetune.lora import add_lora, merge_lora
from twinlens.train.log import LogEntry
from twinlens.train.recipes.adapt import AdaptConfig
from twinlens.train.recipes.builtin import Recipe, find_recipe
from twinlens.train.recipes.recipe import ComputeConfig
from twinlens.train.state import TrainState
from twinlens.train.trainer import fit

COLOURS = ("red", "green", "blue", "black")


def trained(model: torch.nn.Module) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_locking_by_depth(kind: str):
    model = tiny_clip(kind)
    everything = trained(model)
    lock_layers(model, AdaptConfig())
    assert trained(model) == everything
    lock_layers(model, AdaptConfig(unlocked_text_layers=1))
    left = {name for name in trained(model) if name.startswith("text_tower")}
    assert "text_tower.projection" in left
    assert "text_tower.final_norm.weight" in left
    blocks = {name for name in left if ".blocks." in name}
    assert blocks == {n for n in everything if n.startswith("text_tower.transformer.blocks.1.")}
    lock_layers(model, AdaptConfig(unlocked_image_layers=0, unlocked_text_layers=0))
    assert trained(model) == {"logit_scale"}
    with pytest.raises(ConfigError, match="unlocked_text_layers: got 9, expected at most the 2"):
        lock_layers(tiny_clip(kind), AdaptConfig(unlocked_text_layers=9))


def test_statistics_of_a_locked_resnet_stay():
    model = tiny_clip("resnet")
    lock_layers(model, AdaptConfig(unlocked_image_layers=1))
    set_train_mode(model)
    before = {name: value.clone() for name, value in model.named_buffers()}
    model.encode_image(torch.randn(2, 3, 32, 32))
    changed = {n for n, value in model.named_buffers() if not torch.equal(before[n], value)}
    assert changed
    assert all(name.startswith("image_tower.stages.3.0.") for name in changed)


def test_rates_fall_from_layer_to_layer():
    scales = layer_lr_scales(tiny_clip(), AdaptConfig(layer_decay=0.5))
    assert scales["image_tower.projection"] == scales["text_tower.final_norm.weight"] == 1.0
    assert scales["image_tower.transformer.blocks.1.mlp.expand.weight"] == 0.5
    assert scales["image_tower.transformer.blocks.0.mlp.expand.weight"] == 0.25
    assert scales["image_tower.patch_embedding.weight"] == 0.125
    assert scales["text_tower.token_embedding.weight"] == 0.125
    assert "logit_scale" not in scales


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_only_adapters_train_and_they_merge(kind: str):
    model = tiny_clip(kind)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pixels = torch.randn(2, 3, 32, 32)
    tokens = torch.randint(1, 64, (2, 12))
    plain = model(pixels, tokens)[0]
    adapt = AdaptConfig(lora_rank=2, unlocked_text_layers=1)
    lock_layers(model, adapt)
    add_lora(model, adapt)
    learned = trained(model)
    assert {name for name in learned if ".lora_" not in name} == {"logit_scale"}
    assert not any("text_tower.transformer.blocks.0" in name for name in learned)
    torch.testing.assert_close(model(pixels, tokens)[0], plain)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                parameter.add_(0.05 * torch.randn_like(parameter))
    adapted = model.eval()(pixels, tokens)[0]
    assert not torch.allclose(adapted, plain, atol=1e-4)
    merge_lora(model)
    assert model.state_dict().keys() == before.keys()
    torch.testing.assert_close(model(pixels, tokens)[0], adapted, rtol=1e-5, atol=1e-5)
    locked = CLIP(model.config)
    lock_layers(locked, AdaptConfig(unlocked_image_layers=0, unlocked_text_layers=0))
    with pytest.raises(ConfigError, match="all layers locked"):
        add_lora(locked, adapt)


def test_the_line_between_two_models():
    start, end = tiny_clip().state_dict(), CLIP(tiny_clip().config).state_dict()
    for weight, expected in ((0.0, start), (1.0, end)):
        found = interpolate_weights(start, end, weight)
        assert all(torch.equal(found[name], value) for name, value in expected.items())
    name = "image_tower.projection"
    half = interpolate_weights(start, end, 0.5)[name]
    torch.testing.assert_close(half, (start[name] + end[name]) / 2)
    with pytest.raises(ConfigError, match=r"weight: got 1\.5"):
        interpolate_weights(start, end, 1.5)
    with pytest.raises(CheckpointError, match="two different models"):
        interpolate_weights(start, tiny_clip("resnet").state_dict(), 0.5)


def test_a_probe_finds_what_words_do_not():
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    centres = torch.eye(8)[:3]
    noisy = centres[labels] + 0.2 * torch.randn(90, 8, generator=rng)
    features = torch.nn.functional.normalize(noisy, dim=-1)
    words = torch.randn(8, 3, generator=rng)
    data = LabelledFeatures(features.numpy(), labels.numpy())
    weight = torch.from_numpy(fit_linear_probe(data, 3, bias=False).weight)
    accuracy = float(((features @ weight).argmax(1) == labels).float().mean())
    by_words = float(((features @ words).argmax(1) == labels).float().mean())
    assert accuracy > 0.95 > by_words


@pytest.mark.parametrize(
    "setting",
    [
        {"unlocked_image_layers": -1},
        {"layer_decay": 0.0},
        {"lora_rank": -1},
        {"label_smoothing": 1.0},
        {"label_smoothing": 0.1},
        {"interpolation": 1.5},
    ],
)
def test_settings_out_of_range(setting: dict[str, float]):
    with pytest.raises(ConfigError, match=rf"^adapt\.{next(iter(setting))}: got .*, expected"):
        AdaptConfig(**setting)  # pyright: ignore[reportArgumentType]


def test_a_recipe_that_adapts_wants_a_model():
    with pytest.raises(ConfigError, match="init: got none"):
        tiny_recipe(adapt=AdaptConfig(lora_rank=2))
    with pytest.raises(ConfigError, match="init: got none for 'lit'"):
        find_recipe("lit")
    recipe = find_recipe("lit", "icons")
    assert recipe.init == "icons"
    assert recipe.model.embed_dim == 256


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    found = squares(tmp_path_factory.mktemp("data") / "squares")
    samples = [
        replace(found.samples[i], label=COLOURS[i % len(COLOURS)])
        for i in range(len(found.samples))
    ]
    return replace(found, samples=samples, classnames=COLOURS)


@pytest.fixture(scope="module")
def bases(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A trained model of each kind of image tower."""

    def trained(kind: str) -> Path:
        recipe = tiny_recipe(kind, steps=6)
        recipe = replace(recipe, model=replace(recipe.model, templates=("{}",)))
        return fit(recipe, dataset, tmp_path_factory.mktemp(kind))

    return {kind: trained(kind) for kind in ("vit", "resnet")}


@pytest.fixture
def base(bases: dict[str, Path]) -> Path:
    return bases["vit"]


@pytest.fixture(scope="module")
def named(dataset: Dataset) -> Dataset:
    samples = [replace(sample, concept=sample.label) for sample in dataset.samples]
    return replace(dataset, samples=samples)


def short(name: str, base: Path, **adapt: object) -> Recipe:
    recipe = find_recipe(name, str(base))
    optim = replace(recipe.optim, lr=1e-2, warmup_steps=2, ema_decay=0.9)
    return replace(
        recipe,
        batch_size=8,
        steps=6,
        checkpoint_every=2,
        log_every=2,
        precision="fp32",
        optim=optim,
        adapt=replace(recipe.adapt, **adapt),  # pyright: ignore[reportArgumentType]
    )


@pytest.mark.parametrize(
    "case",
    [
        ("vit", "finetune-contrastive", {}),
        ("vit", "finetune-contrastive", {"lora_rank": 2, "interpolation": 0.5}),
        ("resnet", "finetune-classifier", {"interpolation": 0.7}),
        ("vit", "finetune-classifier", {"head": "zero-shot", "unlocked_image_layers": 1}),
        ("resnet", "lit", {}),
    ],
)
def test_fine_tuning_resumes_to_the_same_bytes(
    bases: dict[str, Path],
    named: Dataset,
    tmp_path: Path,
    case: tuple[str, str, dict[str, object]],
):
    kind, name, adapt = case
    base = bases[kind]
    recipe = short(name, base, **adapt)

    def kill(progress: LogEntry) -> None:
        if progress.step == 4:
            while not (tmp_path / "killed" / "checkpoints" / "latest").exists():
                time.sleep(0.01)  # it is written beside the training
            raise KeyboardInterrupt

    whole = fit(recipe, named, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, named, tmp_path / "killed", report=kill)
    again = fit(recipe, named, tmp_path / "killed", resume=True)
    for file in sorted(path.name for path in whole.iterdir()):
        assert (again / file).read_bytes() == (whole / file).read_bytes()
    before, after = twinlens.load(base).model, twinlens.load(whole)
    start = before.state_dict()
    changed = {n for n, v in after.model.state_dict().items() if not torch.equal(v, start[n])}
    assert changed
    if name == "lit":
        assert not any(entry.startswith("image_tower") for entry in changed)
    if name == "finetune-classifier":
        assert not any(entry.startswith("text_tower") for entry in changed)
        image = np.full((32, 32, 3), (220, 30, 30), np.uint8)
        assert {one.label for one in after.classify(image)[0]} == set(COLOURS)
    else:
        with pytest.raises(ConfigError, match="no classifier of its own"):
            after.classify(np.zeros((32, 32, 3), np.uint8))


@pytest.mark.parametrize(
    ("name", "adapt"),
    [("lit", {}), ("finetune-classifier", {"unlocked_image_layers": 0, "head": "zero-shot"})],
)
def test_parts_of_a_batch_teach_what_is_not_locked(
    base: Path, named: Dataset, tmp_path: Path, name: str, adapt: dict[str, object]
):
    recipe = short(name, base, **adapt)
    recipe = replace(recipe, optim=replace(recipe.optim, lr=1e-3))
    whole = fit(recipe, named, tmp_path / "whole")
    in_parts = replace(recipe, compute=ComputeConfig(accum_freq=2))
    parts = fit(in_parts, named, tmp_path / "parts")
    for file in (path.name for path in whole.glob("*.safetensors")):
        expected, got = load_file(whole / file), load_file(parts / file)
        for key, value in got.items():
            torch.testing.assert_close(value, expected[key], rtol=0, atol=1e-4, msg=key)
    moved = load_file(whole / "model.safetensors")
    start = load_file(base / "model.safetensors")
    assert {n.partition(".")[0] for n, v in moved.items() if not torch.equal(v, start[n])} == (
        {"text_tower", "logit_scale"} if name == "lit" else {"logit_scale"}
    )


def test_a_head_begins_as_words_do(base: Path, named: Dataset):
    lens = twinlens.load(base, precision="fp32")
    head = fit_initial_head(lens, short("finetune-classifier", base, head="zero-shot"), named)
    images = [sample.image_bytes() for sample in named.samples][:4]
    features = torch.from_numpy(lens.embed_images(images))
    with torch.no_grad():
        logits = ClassifierModule(head.weight)(features, lens.model.logit_scale)
    expected = lens.model.logit_scale.exp().item() * (
        features.numpy() @ lens.zero_shot_classifier(COLOURS)
    )
    np.testing.assert_allclose(logits.numpy(), expected, atol=1e-4)


def test_locked_weights_are_not_in_the_checkpoint(base: Path, named: Dataset):
    recipe = short("lit", base)
    run = TrainState(recipe, "data", "cpu", initial=load_initial_state(recipe, named, "cpu"))
    assert any(name.startswith("master/text_tower") for name in run.state_tensors())
    assert all(not name.startswith("master/image_tower") for name in run.state_tensors())


def test_a_run_from_other_weights_is_not_resumed(base: Path, named: Dataset, tmp_path: Path):
    moved = tmp_path / "base"
    shutil.copytree(base, moved)
    recipe = short("lit", moved)
    fit(recipe, named, tmp_path / "run")
    weights = load_file(moved / "model.safetensors")
    weights["text_tower.projection"] += 1e-3
    save_file(weights, moved / "model.safetensors")
    (moved / "checksums.json").unlink()
    with pytest.raises(CheckpointError, match=r"is of other data: got .* from weights"):
        fit(recipe, named, tmp_path / "run", resume=True)


def test_another_configuration_than_the_model_s_is_refused(
    base: Path, named: Dataset, tmp_path: Path
):
    recipe = short("lit", base)
    altered = replace(recipe, model=replace(recipe.model, embed_dim=4))
    with pytest.raises(ConfigError, match="another configuration"):
        fit(altered, named, tmp_path)


def test_bf16_ships_the_start_as_it_was(base: Path, named: Dataset):
    recipe = replace(short("finetune-contrastive", base), precision="bf16")
    start = load_initial_state(recipe, named, "cpu")
    shipped = TrainState(recipe, "data", "cpu", initial=start).averaged_model().state_dict()
    for name, value in start.model.state_dict().items():
        torch.testing.assert_close(shipped[name], value, rtol=0, atol=0)


def test_adapters_are_drawn_by_the_seed_alone():
    found: list[dict[str, torch.Tensor]] = []
    for noise in (1, 2):
        model = tiny_clip()
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        add_lora(model, AdaptConfig(lora_rank=2), 5)
        assert torch.equal(torch.get_rng_state(), before)
        found.append({n: v for n, v in model.state_dict().items() if ".lora_" in n})
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("peft", MissingExtraError, "peft"),
        ("transformers.cache", ConfigError, "peft cannot be imported: ImportError: no such part"),
    ],
)
def test_why_peft_is_not_there(
    monkeypatch: pytest.MonkeyPatch, name: str, error: type[Exception], message: str
):
    real = builtins.__import__

    def broken(wanted: str, *rest: Any, **more: Any) -> Any:
        if wanted == "peft":
            raise ImportError("no such\npart", name=name)
        return real(wanted, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", broken)
    with pytest.raises(error, match=message):
        add_lora(tiny_clip(), AdaptConfig(lora_rank=2))


def test_templates_of_a_data_set_make_a_head(base: Path, named: Dataset):
    lens = twinlens.load(base, precision="fp32")
    recipe = short("finetune-classifier", base, head="zero-shot")
    head = fit_initial_head(lens, recipe, replace(named, templates=("red {c}",)))
    expected = lens.zero_shot_classifier(COLOURS, ["red {}"])
    np.testing.assert_array_equal(head.weight, expected)


def test_a_class_of_another_s_name_is_asked_by_that_name(base: Path, named: Dataset):
    lens = twinlens.load(base, precision="fp32")
    recipe = short("finetune-classifier", base, head="zero-shot")
    *others, last = named.classnames
    told = replace(named, spoken={last: others[0]}, templates=("a {c}",))
    head = fit_initial_head(lens, recipe, told)
    expected = lens.zero_shot_classifier([*others, others[0]], ["a {}"])
    assert head.classnames == named.classnames
    np.testing.assert_array_equal(head.weight, expected)


def test_a_probe_leaves_out_what_cannot_be_read(base: Path, named: Dataset, tmp_path: Path):
    lens = twinlens.load(base, precision="fp32")
    recipe = short("finetune-classifier", base)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    bad = [
        replace(named.samples[0], source=broken),
        replace(named.samples[1], source=tmp_path / "missing.png"),
    ]
    head = fit_initial_head(lens, recipe, replace(named, samples=[*bad, *named.samples]))
    expected = fit_initial_head(lens, recipe, named)
    np.testing.assert_array_equal(head.weight, expected.weight)


def test_labels_that_make_no_probe(base: Path, named: Dataset):
    lens = twinlens.load(base, precision="fp32")
    recipe = short("finetune-classifier", base)
    alien = replace(named.samples[0], label="mauve")
    with pytest.raises(DataError, match="got the label 'mauve', expected one of"):
        fit_initial_head(lens, recipe, replace(named, samples=[alien]))
    nameless = [replace(sample, label=None) for sample in named.samples]
    with pytest.raises(DataError, match="got no labelled images"):
        fit_initial_head(lens, recipe, replace(named, samples=nameless))
