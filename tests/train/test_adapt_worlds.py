"""Fine-tuning by two processes: as one would, replicated or sharded, and measured together."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.distributed import ProcessGroup

import twinlens
from tests.processes import run_processes
from tests.train.runs import FunctionEvaluator, squares, tiny_recipe
from twinlens.checkpoints.head import ClassifierHead
from twinlens.data.datasets import Dataset
from twinlens.distributed.world import World
from twinlens.embed.embedder import Embedder
from twinlens.errors import DataError, DistributedError
from twinlens.eval.context import EvalContext
from twinlens.eval.tasks import classifier, zero_shot
from twinlens.train.finetune import initial
from twinlens.train.recipes.builtin import find_recipe
from twinlens.train.recipes.recipe import ComputeConfig, Recipe
from twinlens.train.trainer import fit

COLOURS = ("red", "green", "blue", "black")
KINDS = ("ddp", "fsdp")
CASES: dict[str, tuple[str, dict[str, object]]] = {
    "lora": ("finetune-contrastive", {"lora_rank": 4}),
    "lit": ("lit", {}),
    "classifier": ("finetune-classifier", {"unlocked_image_layers": 1, "interpolation": 0.7}),
    "head-alone": ("finetune-classifier", {"unlocked_image_layers": 0, "head": "zero-shot"}),
}
CHANGED = [
    ("lora", "ddp", "fsdp"),
    ("lora", "fsdp", "ddp"),
    ("lora", "fsdp", "one"),
    ("classifier", "one", "fsdp"),
]
"""Runs that go on in another form."""


def recipe_of(case: str, base: Path, parallel: str) -> Recipe:
    name, adapt = CASES[case]
    lr = 1e-3 if "classifier" in case else 1e-2  # a probe that is good already wants small steps
    recipe = find_recipe(name, str(base))
    return replace(
        recipe,
        batch_size=8,
        steps=6,
        checkpoint_every=2,
        keep_checkpoints=3,
        eval_every=3,
        log_every=2,
        precision="fp32",
        optim=replace(recipe.optim, lr=lr, warmup_steps=2, ema_decay=0.9),
        adapt=replace(recipe.adapt, **adapt),  # pyright: ignore[reportArgumentType]
        compute=ComputeConfig(parallel="fsdp" if parallel == "fsdp" else "ddp"),
    )


def measured(lens: Embedder, dataset: Dataset, world: World | None = None) -> dict[str, float]:
    """By its own classifier where it has one, else by its words."""
    context = EvalContext(lens, world=world or World())
    if not lens.has_head:
        return zero_shot.evaluate_zero_shot(context, dataset).metrics
    return classifier.evaluate_head(context, dataset).metrics


def train(recipe: Recipe, dataset: Dataset, out: Path, world: World, *, resume: bool) -> None:
    fit(
        recipe,
        dataset,
        out,
        resume=resume,
        evaluators=[FunctionEvaluator(lambda lens: measured(lens, dataset, world))],
        device="cpu",
        world=world,
    )


def half_of(whole: Path, out: Path) -> Path:
    """A run as it was at step 4 of 6."""
    shutil.copytree(whole, out)
    shutil.rmtree(out / "model")
    shutil.rmtree(out / "checkpoints" / "step-00000006")
    return out


def train_all(group: ProcessGroup, root: Path, base: Path, dataset: Dataset) -> None:
    """Every case in two processes, and those begun otherwise gone on with."""
    world = World(group.rank(), group.size(), 0, group)
    for case in CASES:
        for kind in KINDS:
            train(recipe_of(case, base, kind), dataset, root / case / kind, world, resume=False)
    for case, begun, kind in CHANGED:
        if kind == "one":
            continue
        out = root / case / f"{begun}-then-{kind}"
        if world.is_main:
            half_of(root / case / begun, out)
        world.barrier()
        train(recipe_of(case, base, kind), dataset, out, world, resume=True)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Images of four colours, a number that two processes cannot share evenly."""
    found = squares(tmp_path_factory.mktemp("data") / "squares")
    samples = [
        replace(sample, label=colour, concept=colour)
        for sample, colour in zip(list(found.samples)[:23], COLOURS * 6, strict=False)
    ]
    return replace(found, samples=samples, classnames=COLOURS)


@pytest.fixture(scope="module")
def base(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = tiny_recipe("vit", steps=6)
    recipe = replace(recipe, model=replace(recipe.model, templates=("{}",)))
    return fit(recipe, dataset, tmp_path_factory.mktemp("base"), device="cpu")


@pytest.fixture(scope="module")
def runs(dataset: Dataset, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All runs: `CASE/one`, `CASE/ddp`, `CASE/fsdp`, and those that changed on the way."""
    root = tmp_path_factory.mktemp("runs")
    for case in CASES:
        recipe = recipe_of(case, base, "one")
        train(recipe, dataset, root / case / "one", World(), resume=False)
    run_processes(train_all, 2, root, base, dataset)
    out = half_of(root / "lora" / "fsdp", root / "lora" / "fsdp-then-one")
    train(recipe_of("lora", base, "one"), dataset, out, World(), resume=True)
    return root


@pytest.mark.parametrize(
    ("case", "name"),
    [
        *((case, kind) for case in CASES for kind in KINDS),
        *((case, f"{begun}-then-{kind}") for case, begun, kind in CHANGED),
    ],
)
def test_the_weights_are_those_of_one_process(runs: Path, case: str, name: str):
    for file in sorted(path.name for path in (runs / case / "one" / "model").glob("*.safetensors")):
        expected = load_file(runs / case / "one" / "model" / file)
        got = load_file(runs / case / name / "model" / file)
        assert got.keys() == expected.keys()
        for key, tensor in got.items():
            # Steps of AdamW, each of which makes much of the rounding of small gradients.
            torch.testing.assert_close(tensor, expected[key], rtol=0, atol=2e-4, msg=key)


def moved(case: str, name: str, runs: Path, base: Path) -> set[str]:
    before = load_file(base / "model.safetensors")
    end = load_file(runs / case / name / "model" / "model.safetensors")
    assert before.keys() == end.keys()  # a plain model, whatever was trained
    return {key for key, value in end.items() if not torch.equal(value, before[key])}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_to_be_trained_is_and_nothing_else(runs: Path, base: Path, kind: str):
    adapted = moved("lora", kind, runs, base)
    linear = "image_tower.transformer.blocks.0.attention.qkv.weight"
    assert {linear, linear.replace("image", "text")} < adapted
    assert all(".blocks." in name for name in adapted - {"logit_scale"})
    assert all(name.endswith("weight") for name in adapted - {"logit_scale"})
    newest = runs / "lora" / kind / "checkpoints" / "step-00000006"
    held = {name for file in newest.glob("*.safetensors") for name in load_file(file)}
    assert any(".lora_A." in name for name in held)
    assert not any("base_layer" in name for name in held)
    tower = {name.partition(".")[0] for name in moved("lit", kind, runs, base)}
    assert tower == {"text_tower", "logit_scale"}
    tower = {name.partition(".")[0] for name in moved("classifier", kind, runs, base)}
    assert tower == {"image_tower", "logit_scale"}
    assert moved("head-alone", kind, runs, base) <= {"logit_scale"}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_measured_together_is_what_one_measures(
    runs: Path, dataset: Dataset, case: str, kind: str
):
    run = runs / case / kind
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [bool(line["metrics"]) for line in lines] == [False, True, False, True]
    lens = twinlens.load(run / "model", device="cpu", precision="fp32")
    found, expected = lines[-1]["metrics"], measured(lens, dataset)
    assert found.keys() == expected.keys()
    for key in found.keys() - {"ece"}:  # of which a batch's rounding decides the bins
        assert found[key] == expected[key]


def first_number(group: ProcessGroup, base: Path, dataset: Dataset) -> float:
    """Of the classifier to begin with, where each process would find another one."""
    world = World(group.rank(), group.size(), 0, group)
    weight = np.full((8, 4), 5.0 + world.rank, np.float32)
    initial.fit_initial_head = lambda *_: ClassifierHead(COLOURS, weight)
    head = initial.load_initial_state(
        recipe_of("classifier", base, "ddp"), dataset, "cpu", world
    ).head
    assert head is not None
    return float(head.weight[0, 0])


def test_all_begin_with_the_leader_s_classifier(base: Path, dataset: Dataset):
    assert run_processes(first_number, 2, base, dataset) == [5.0, 5.0]


def failing(group: ProcessGroup, out: Path, base: Path, dataset: Dataset) -> str:
    """A run whose second process loses an image of the data that it measures on."""
    world = World(group.rank(), group.size(), 0, group)
    few = replace(dataset, samples=list(dataset.samples)[:2])

    def evaluate(lens: Embedder) -> dict[str, float]:
        if world.rank == 1:
            raise DataError("validation: gone")
        return zero_shot.evaluate_zero_shot(EvalContext(lens, world=world), few).metrics

    try:
        recipe = recipe_of("lit", base, "ddp")
        evaluators = [FunctionEvaluator(evaluate)]
        fit(recipe, dataset, out, evaluators=evaluators, device="cpu", world=world)
    except (DataError, DistributedError) as error:
        return f"{type(error).__name__}: {error}"
    return "done"


def test_an_error_of_one_process_ends_the_run_in_all_with_its_line(
    base: Path, dataset: Dataset, tmp_path: Path
):
    assert run_processes(failing, 2, tmp_path, base, dataset) == [
        "DistributedError: process 1 failed: DataError: validation: gone",
        "DataError: validation: gone",
    ]
