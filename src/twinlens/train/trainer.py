"""The training loop: `fit` turns a recipe and a data set into a model's directory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from twinlens.config import Provenance, read_json, write_json
from twinlens.data.datasets import Dataset
from twinlens.data.fingerprint import fingerprint
from twinlens.data.loader import PairLoader
from twinlens.errors import CheckpointError, ConfigError, DataError
from twinlens.model.clip import CLIP, MAX_LOGIT_SCALE
from twinlens.model.precision import has_fast_bf16, pick_device, place
from twinlens.model.vocabulary import TOKENIZER_FILE
from twinlens.model.weights import check_tensors, save_model
from twinlens.tokenizer import Tokenizer, train_tokenizer
from twinlens.train.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from twinlens.train.log import Log, Reporter
from twinlens.train.optim import MasterAdamW, MovingAverage
from twinlens.train.recipes import Recipe
from twinlens.train.task import pair_loss

RECIPE_FILE = "recipe.json"

Evaluator = Callable[[CLIP, Tokenizer], Mapping[str, float]]


def fit(
    recipe: Recipe,
    dataset: Dataset,
    out: Path,
    *,
    resume: bool = False,
    evaluate: Evaluator | None = None,
    report: Reporter | None = None,
    device: str = "auto",
) -> Path:
    """Train, and write the model to `out/model`.

    The weights depend on the recipe, the data, the precision that "auto" picks, the number of
    threads and the versions of torch and of the processor's kernels; on nothing else. A run that
    was killed and resumed gives the same weights as one that was not.

    Args:
        recipe: Everything that decides the run.
        dataset: Pictures with captions.
        out: Gets `recipe.json`, `log.jsonl`, `checkpoints/` and `model/`.
        resume: Go on from the newest checkpoint in `out`, or from the start if there is none.
        evaluate: Called with the model to be shipped (the moving average, in float32), on the
            device of the run, and its vocabulary.
        report: Called with each line of the log.
        device: A torch device; "auto" takes CUDA where there is one.

    Returns:
        The model's directory.

    Raises:
        CheckpointError: `out` holds another run, or cannot be written.
        ConfigError: `out` holds a run of another recipe.
        DataError: The data set is empty or a sample in it cannot be used.
    """
    _check_out(out, recipe, resume)
    tokenizer = _vocabulary(recipe, dataset, out)
    loader = _loader(recipe, dataset, tokenizer)
    run = Run(recipe, describe(dataset), device)
    first = run.load_newest(out / "checkpoints") if resume else 0
    _begin(out, recipe, tokenizer)
    log = Log(out / "log.jsonl", recipe, first, report)
    for step, batch in enumerate(loader.batches(first, recipe.steps), start=first):
        loss = run.train_step(batch, step)
        done = step + 1
        log.count(loss, batch.truncated)
        if _is_due(done, recipe.eval_every, recipe) and evaluate is not None:
            log.metrics = dict(evaluate(run.shipped_model().to(run.device), tokenizer))
        saves = _is_due(done, recipe.checkpoint_every, recipe)
        if saves or _is_due(done, recipe.log_every, recipe) or log.metrics is not None:
            log.write(done, scale=run.scale)
        if saves:  # after the log, which stops a run that diverged
            run.save(out / "checkpoints", done)
    model = run.shipped_model(_provenance(recipe, dataset))
    save_model(model, out / "model", tokenizer)
    return out / "model"


def _is_due(done: int, every: int, recipe: Recipe) -> bool:
    return done % every == 0 or done == recipe.steps


class Run:
    """The model, its optimiser and its moving average: what a checkpoint holds."""

    def __init__(self, recipe: Recipe, data: str, device: str = "auto") -> None:
        self.recipe = recipe
        self.data = data
        self.device = pick_device(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            model = CLIP(recipe.model)
        dtype = working_dtype(recipe.precision, self.device)
        self.model = place(model, self.device, dtype).train()
        self.optimizer = MasterAdamW(self.model, recipe.optim)
        # Built from the working model: masters and average start from the same rounded weights.
        self.average = MovingAverage(self._averaged(), recipe.optim.ema_decay)

    def _averaged(self) -> dict[str, Tensor]:
        """What the moving average follows: the masters and the running statistics."""
        return self.optimizer.weights | {
            name: value for name, value in self.model.named_buffers() if value.is_floating_point()
        }

    @property
    def scale(self) -> float:
        """The inverse temperature."""
        return float(self.optimizer.weights["logit_scale"].exp())

    def train_step(self, batch: Any, step: int) -> Tensor:
        """One update; returns the loss, still on the device."""
        with attention_kernels(self.device):
            loss = pair_loss(self.model, batch)
            loss.backward()
        self.optimizer.step(step, self.recipe.steps)
        self.optimizer.weights["logit_scale"].clamp_(max=MAX_LOGIT_SCALE)
        self.optimizer.write_back()
        self.average.update(self._averaged(), step)
        return loss.detach()

    def shipped_model(self, provenance: Provenance | None = None) -> CLIP:
        """A float32 copy with the averaged weights, in evaluation mode, on the processor."""
        config = self.recipe.model
        model = CLIP(replace(config, provenance=provenance) if provenance else config)
        state = model.state_dict()
        state |= self.average.tensors
        model.load_state_dict(state)
        return model.eval()

    def save(self, directory: Path, step: int) -> None:
        """Write a checkpoint."""
        save_checkpoint(directory, step, self._state(), self.data)

    def _state(self) -> dict[str, Tensor]:
        state = self.optimizer.state_tensors()
        state |= {f"buffer/{name}": value for name, value in self.model.named_buffers()}
        return state | {f"average/{n}": value for n, value in self.average.tensors.items()}

    def load_newest(self, directory: Path) -> int:
        """Go on from the newest checkpoint; returns the step after it, 0 where there is none."""
        checkpoints = list_checkpoints(directory)
        if not checkpoints:
            return 0
        try:
            read = load_checkpoint(checkpoints[-1])
        except CheckpointError as error:
            if len(checkpoints) < 2:
                raise
            raise CheckpointError(
                f"{error}; remove it to go on from {checkpoints[-2].name}"
            ) from error
        return self._take_over(checkpoints[-1], *read)

    def load(self, path: Path) -> int:
        """Go on from a checkpoint; returns the step after it."""
        return self._take_over(path, *load_checkpoint(path))

    @torch.no_grad()
    def _take_over(self, path: Path, step: int, tensors: Mapping[str, Tensor], data: str) -> int:
        if data != self.data:
            raise CheckpointError(f"{path}: is of other data: got {self.data}, expected {data}")
        expected = self.optimizer.weights
        got = {n.removeprefix("master/"): t for n, t in tensors.items() if n.startswith("master/")}
        check_tensors(got, expected, path)
        self.optimizer.load_state_tensors(tensors)
        for name, buffer in self.model.named_buffers():
            buffer.copy_(tensors[f"buffer/{name}"])
        for name, average in self.average.tensors.items():
            average.copy_(tensors[f"average/{name}"])
        return step


def _check_out(out: Path, recipe: Recipe, resume: bool) -> None:
    """Make sure that `out` holds no other run than this."""
    saved = out / RECIPE_FILE
    if not saved.exists():
        if list_checkpoints(out / "checkpoints"):
            raise CheckpointError(f"{out}: got checkpoints without {RECIPE_FILE}, expected neither")
        return
    if not resume:
        raise CheckpointError(f"{out}: already holds a run, expected a new directory or --resume")
    if read_json(Recipe, saved) != recipe:
        raise ConfigError(f"{saved}: is of another recipe or other settings than this run's")


def _begin(out: Path, recipe: Recipe, tokenizer: Tokenizer) -> None:
    """Make the run's directory: the recipe comes last, it says that a run is there."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        if recipe.model.tokenizer != "clip":
            tokenizer.save(out / TOKENIZER_FILE)
        write_json(recipe, out / RECIPE_FILE)
    except OSError as error:
        raise CheckpointError(f"{out}: cannot hold a run: {error}") from error


def _vocabulary(recipe: Recipe, dataset: Dataset, out: Path) -> Tokenizer:
    """CLIP's vocabulary, or one learned from the captions: a run's own once it has checkpoints."""
    size = recipe.model.text_input.vocab_size
    if recipe.model.tokenizer == "clip":
        tokenizer = Tokenizer.clip()
        if tokenizer.vocab_size != size:
            raise ConfigError(
                f"model.text.vocab_size: got {size}, expected CLIP's {tokenizer.vocab_size}"
            )
        return tokenizer
    if list_checkpoints(out / "checkpoints"):
        return Tokenizer.from_file(out / TOKENIZER_FILE)
    captions = [caption for sample in dataset.samples for caption in sample.captions]
    if not captions:
        raise DataError(f"{dataset.name}: got no captions, expected a text for each picture")
    return train_tokenizer(captions, size)


def _loader(recipe: Recipe, dataset: Dataset, tokenizer: Tokenizer) -> PairLoader:
    config = recipe.model
    return PairLoader(
        dataset.samples,
        tokenizer,
        batch_size=recipe.batch_size,
        image_size=config.image_input.image_size,
        context_length=config.text_input.context_length,
        augmentation=recipe.augment,
        seed=recipe.seed,
        captions=recipe.captions,
        background=config.image_input.background,
    )


def describe(dataset: Dataset) -> str:
    """What a checkpoint says of its data, so that a resumed run notices other data."""
    samples = dataset.samples
    return f"{len(samples)} samples of {dataset.name}, fingerprint {fingerprint(samples)}"


def _provenance(recipe: Recipe, dataset: Dataset) -> Provenance:
    return Provenance(
        name=recipe.name,
        source="trained from scratch",
        recipe=recipe.name,
        data=dataset.name,
        samples_seen=recipe.steps * recipe.batch_size,
    )


def working_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The type to compute in; "auto" takes bf16 where the hardware multiplies it natively."""
    if precision == "auto":
        precision = "bf16" if has_fast_bf16(device) else "fp32"
    return torch.bfloat16 if precision == "bf16" else torch.float32


def attention_kernels(device: torch.device) -> AbstractContextManager[object]:
    """On processors plain products train short sequences faster than the fused kernel."""
    return sdpa_kernel([SDPBackend.MATH]) if device.type == "cpu" else nullcontext()
