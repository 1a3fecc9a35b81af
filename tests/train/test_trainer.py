"""Whole runs: the same twice, the same when interrupted, and nothing lost."""

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.train.runs import (
    FunctionEvaluator,
    make_loader,
    squares,
    tiny_recipe,
    write_squares,
)
from twinlens.checkpoints.reader import load_model
from twinlens.data.datasets import Dataset, open_dataset
from twinlens.embed.embedder import Embedder
from twinlens.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    DivergedError,
    StoppedError,
)
from twinlens.text.clip_bpe import train_tokenizer
from twinlens.text.loading import load_tokenizer
from twinlens.train import trainer
from twinlens.train.checkpoint import list_checkpoints
from twinlens.train.log import LogEntry
from twinlens.train.recipes.recipe import ComputeConfig
from twinlens.train.state import TrainState
from twinlens.train.trainer import fit


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return squares(tmp_path_factory.mktemp("squares"))


def weights(run: Path) -> bytes:
    return (run / "model" / "model.safetensors").read_bytes()


def log_lines(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", ["vit", "resnet"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_two_runs_are_byte_identical(dataset: Dataset, tmp_path: Path, kind: str, precision: str):
    recipe = tiny_recipe(kind, precision=precision)
    for name in ("one", "two"):
        fit(recipe, dataset, tmp_path / name)
    assert weights(tmp_path / "one") == weights(tmp_path / "two")
    fit(tiny_recipe(kind, precision=precision, seed=1), dataset, tmp_path / "other")
    assert weights(tmp_path / "one") != weights(tmp_path / "other")


@pytest.mark.parametrize("killed_at", [2, 4, 10])
def test_a_killed_run_resumes_to_the_same_bytes(dataset: Dataset, tmp_path: Path, killed_at: int):
    recipe = tiny_recipe()
    fit(recipe, dataset, tmp_path / "whole")

    def kill(progress: LogEntry) -> None:
        if progress.step == killed_at:
            raise KilledError

    with pytest.raises(KilledError):
        fit(recipe, dataset, tmp_path / "killed", report=kill)
    with (tmp_path / "killed" / "log.jsonl").open("a") as file:
        file.write('{"step": 11, "lo')  # the line it was writing
    fit(recipe, dataset, tmp_path / "killed", resume=True)
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    steps = [line["step"] for line in log_lines(tmp_path / "killed")]
    assert steps == [2, 4, 6, 8, 10, 12]


def test_a_diverging_run_stops_and_leaves_its_batches(dataset: Dataset, tmp_path: Path):
    optim = replace(tiny_recipe().optim, lr=1e30, grad_clip_norm=0.0)
    with pytest.raises(DivergedError, match=r"the loss is nan .* after 5 steps"):
        fit(tiny_recipe(optim=optim, precision="fp32"), dataset, tmp_path)
    assert not (tmp_path / "model").exists()
    kept = sorted((tmp_path / "skipped").iterdir())
    assert len(kept) == 5
    number = int(kept[0].name.split("-")[1]) - 1
    captions = [caption for sample in dataset.samples for caption in sample.captions]
    replay = make_loader(dataset, train_tokenizer(captions, 520)).batch(number)
    assert torch.equal(load_file(kept[0])["pixels"], replay.pixels)
    assert torch.equal(load_file(kept[0])["tokens"], replay.tokens)


def test_sigterm_saves_and_says_so(dataset: Dataset, tmp_path: Path):
    recipe = tiny_recipe(checkpoint_every=100)
    fit(recipe, dataset, tmp_path / "whole")

    def stop(progress: LogEntry) -> None:
        if progress.step == 6:
            signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(StoppedError, match="stopped at step 6 and saved"):
        fit(recipe, dataset, tmp_path / "run", report=stop)
    assert signal.getsignal(signal.SIGTERM) == before
    assert [p.name for p in list_checkpoints(tmp_path / "run" / "checkpoints")] == ["step-00000006"]
    fit(recipe, dataset, tmp_path / "run", resume=True)
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


def test_checkpoints_by_the_clock(dataset: Dataset, tmp_path: Path):
    recipe = tiny_recipe(
        steps=4, checkpoint_every=100, checkpoint_every_minutes=1e-9, keep_checkpoints=9
    )
    fit(recipe, dataset, tmp_path)
    assert len(list_checkpoints(tmp_path / "checkpoints")) == 4


def test_how_a_run_is_computed_may_change_on_the_way(dataset: Dataset, tmp_path: Path):
    fit(tiny_recipe("vit", precision="fp32"), dataset, tmp_path / "whole")
    first = tiny_recipe("vit", precision="fp32", compute=ComputeConfig(accum_freq=2))
    fit(first, dataset, tmp_path / "run")
    shutil.rmtree(list_checkpoints(tmp_path / "run" / "checkpoints")[-1])
    other = replace(
        first, compute=ComputeConfig(accum_freq=4, loss_tile_size=3, checkpoint_activations=True)
    )
    fit(other, dataset, tmp_path / "run", resume=True)
    expected = load_file(tmp_path / "whole" / "model" / "model.safetensors")
    for name, got in load_file(tmp_path / "run" / "model" / "model.safetensors").items():
        torch.testing.assert_close(got, expected[name], rtol=1e-3, atol=1e-3, msg=name)


def test_checkpoints_without_their_recipe_are_left_alone(dataset: Dataset, tmp_path: Path):
    fit(tiny_recipe(), dataset, tmp_path)
    (tmp_path / "recipe.json").unlink()
    with pytest.raises(CheckpointError, match=r"got checkpoints without recipe\.json"):
        fit(tiny_recipe(), dataset, tmp_path)
    assert len(list_checkpoints(tmp_path / "checkpoints")) == 2


def test_it_learns_the_colours(dataset: Dataset, tmp_path: Path):
    recipe = tiny_recipe("vit", steps=60, precision="fp32", log_every=10)
    fit(recipe, dataset, tmp_path)
    lines = log_lines(tmp_path)
    assert lines[-1]["loss"] < 0.4 * lines[0]["loss"]
    assert lines[-1]["samples_seen"] == 480
    assert lines[0]["lr"] > lines[-1]["lr"]


def test_the_model_shipped_is_the_average_that_was_evaluated(dataset: Dataset, tmp_path: Path):
    seen: list[torch.Tensor] = []

    def evaluate(lens: Embedder) -> dict[str, float]:
        assert not lens.model.training
        assert lens.precision == "fp32"
        seen.append(lens.model.text_tower.projection.detach().clone())
        return {"acc1": 0.5}

    directory = fit(tiny_recipe(), dataset, tmp_path, evaluators=[FunctionEvaluator(evaluate)])
    model = load_model(directory)
    assert len(seen) == 2
    assert torch.equal(model.text_tower.projection, seen[-1])
    assert load_tokenizer(directory, model.config).vocab_size == 520
    assert model.config.provenance.samples_seen == 96
    assert [line["metrics"] for line in log_lines(tmp_path)][2::3] == [{"acc1": 0.5}] * 2


def test_the_model_is_evaluated_on_the_run_s_device(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Elsewhere(TrainState):
        """Trains on the processor, but says that it is on another device."""

        def __init__(self, *args: object) -> None:
            super().__init__(*args)  # pyright: ignore[reportArgumentType]
            self.device = torch.device("meta")

    seen: list[str] = []

    def lens(model: torch.nn.Module, *_: object, device: str, **__: object) -> None:
        seen.extend({device, *(tensor.device.type for tensor in model.state_dict().values())})

    monkeypatch.setattr(trainer, "TrainState", Elsewhere)
    monkeypatch.setattr(trainer.Embedder, "from_model", lens)
    monkeypatch.setattr(trainer, "peak_flops", lambda *_: 1e12)
    evaluators = [FunctionEvaluator(lambda _: {})]
    directory = fit(tiny_recipe(steps=2), dataset, tmp_path, evaluators=evaluators, device="cpu")
    assert seen == ["meta"]
    assert load_model(directory).text_tower.token_embedding.weight.isfinite().all()


def test_another_recipe_cannot_resume(dataset: Dataset, tmp_path: Path):
    fit(tiny_recipe(steps=2), dataset, tmp_path)
    with pytest.raises(CheckpointError, match="already holds a run"):
        fit(tiny_recipe(steps=2), dataset, tmp_path)
    with pytest.raises(ConfigError, match="is of another recipe"):
        fit(tiny_recipe(steps=4), dataset, tmp_path, resume=True)


def test_other_data_cannot_resume(dataset: Dataset, tmp_path: Path):
    recipe = tiny_recipe()
    fit(recipe, dataset, tmp_path / "run")
    fewer = replace(dataset, samples=dataset.samples[:-1])
    message = (
        r"00012.*: is of other data: got 23 samples of .*, expected 24 samples of \S+ \S+ \w+$"
    )
    with pytest.raises(CheckpointError, match=message):
        fit(recipe, fewer, tmp_path / "run", resume=True)


def test_other_images_under_the_same_name_cannot_resume(tmp_path: Path):
    root = write_squares(tmp_path / "here" / "squares")
    fit(tiny_recipe(), open_dataset(root), tmp_path / "run")
    whole = weights(tmp_path / "run")
    shutil.rmtree(list_checkpoints(tmp_path / "run" / "checkpoints")[-1])
    moved = tmp_path / "there" / "squares"
    shutil.copytree(root, moved)
    fit(tiny_recipe(), open_dataset(moved), tmp_path / "run", resume=True)
    assert weights(tmp_path / "run") == whole
    Image.new("RGB", (36, 36)).save(moved / "07.png")
    message = r"got 24 samples of squares, fingerprint (\w{16}), expected 24 .* (?!\1)\w{16}$"
    with pytest.raises(CheckpointError, match=message):
        fit(tiny_recipe(), open_dataset(moved), tmp_path / "run", resume=True)


def test_without_a_checkpoint_a_run_begins_anew_on_whatever_data(dataset: Dataset, tmp_path: Path):
    other = replace(
        dataset, samples=[replace(s, captions=(*s.captions, "a tile")) for s in dataset.samples]
    )
    fit(tiny_recipe(steps=2), dataset, tmp_path / "expected")
    fit(tiny_recipe(steps=2), other, tmp_path / "run")
    for checkpoint in list_checkpoints(tmp_path / "run" / "checkpoints"):
        shutil.rmtree(checkpoint)
    fit(tiny_recipe(steps=2), dataset, tmp_path / "run", resume=True)
    for file in ("tokenizer.json", "model/model.safetensors"):
        assert (tmp_path / "run" / file).read_bytes() == (tmp_path / "expected" / file).read_bytes()


def test_a_run_that_cannot_start_leaves_no_run(dataset: Dataset, tmp_path: Path):
    text = replace(tiny_recipe().model.text, vocab_size=8000)
    greedy = tiny_recipe(model=replace(tiny_recipe().model, text=text))
    with pytest.raises(DataError, match="vocab_size: got 8000, expected at most"):
        fit(greedy, dataset, tmp_path / "run")
    silent = replace(dataset, samples=[replace(s, captions=()) for s in dataset.samples])
    with pytest.raises(DataError, match="got no captions"):
        fit(tiny_recipe(), silent, tmp_path / "run")
    clip = tiny_recipe(model=replace(tiny_recipe().model, tokenizer="clip"))
    with pytest.raises(ConfigError, match="vocab_size: got 520, expected CLIP's 49408"):
        fit(clip, dataset, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_damaged_recipe_is_one_clear_error(dataset: Dataset, tmp_path: Path):
    fit(tiny_recipe(steps=2), dataset, tmp_path)
    (tmp_path / "recipe.json").write_text('{"name": "ti')
    with pytest.raises(ConfigError, match=r"recipe\.json: cannot be read"):
        fit(tiny_recipe(steps=2), dataset, tmp_path, resume=True)
