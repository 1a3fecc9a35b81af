"""The training loop: `fit` trains a recipe on a data set and writes the model's directory."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from twinlens.checkpoints.head import save_head
from twinlens.checkpoints.native import save_model, write_tensors
from twinlens.config import Provenance, ViTConfig
from twinlens.data.datasets import Dataset
from twinlens.data.left_out import LeftOut
from twinlens.data.loader import Batch, PairLoader
from twinlens.data.samples import fingerprint
from twinlens.distributed.world import World
from twinlens.embed.embedder import Embedder
from twinlens.errors import DataError, DivergedError, StoppedError, require
from twinlens.model.flops import num_patches
from twinlens.signals import StopSignal, Terminated, uninterruptible
from twinlens.text.clip_bpe import Tokenizer, train_tokenizer
from twinlens.text.loading import TOKENIZER_FILE, AnyTokenizer
from twinlens.train.bad_samples import BadSampleLog
from twinlens.train.checkpoint import CheckpointWriter, list_checkpoints
from twinlens.train.directory import check_run_directory, lock_run_directory, prepare_run_directory
from twinlens.train.evaluator import Evaluator, run_evaluators
from twinlens.train.finetune.initial import load_initial_state
from twinlens.train.left_out import check_training_data, write_left_out
from twinlens.train.log import LogCallback, TrainingLog
from twinlens.train.planning.devices import peak_flops
from twinlens.train.recipes.recipe import Recipe
from twinlens.train.report import write_report
from twinlens.train.state import StepResult, TrainState

SKIPPED_BATCHES_DIR = "skipped"
"""Directory of the batches whose steps were skipped."""

MAX_SKIPPED_BATCHES = 20
"""Maximum number of skipped batches that are written: enough to find the cause."""


def fit(
    recipe: Recipe,
    dataset: Dataset,
    out: Path,
    *,
    resume: bool = False,
    evaluators: Sequence[Evaluator] = (),
    report: LogCallback | None = None,
    device: str = "auto",
    workers: int = 0,
    world: World | None = None,
    strict: bool = False,
) -> Path:
    """Train a model and write it to `out/model`.

    The weights depend on the recipe, the data, the precision that "auto" picks, the number of
    threads and processes, and the versions of torch and of the CPU's kernels; on nothing else. A
    run that was killed and resumed gives the same weights as one that was not.

    Args:
        recipe: All settings of the run.
        dataset: Images with captions.
        out: Directory for `recipe.json`, `log.jsonl`, `checkpoints/` and `model/`. All processes
            must see the same directory.
        resume: Continue from the newest checkpoint in `out`, or from the start if there is none.
        evaluators: Measure the averaged weights every `eval_every` steps and at the end.
        report: Called with each log entry.
        device: A torch device; "auto" takes CUDA if there is one.
        workers: Additional processes that read images.
        world: The processes that train together; only this one if not given.
        strict: Refuse data of which anything is left out, and stop at the first sample that cannot
            be used.

    Returns:
        The model's directory.

    Raises:
        CheckpointError: `out` has a run already, or one is running there, or it cannot be written.
        ConfigError: `out` has a run of other settings; the message names each of them.
        DataError: The data set is empty, or too many of its samples cannot be used.
        DivergedError: The loss exploded and did not come back.
        StoppedError: SIGTERM arrived; all is saved and `resume` continues.
    """
    world = world or World()
    for evaluator in evaluators:
        evaluator.check(dataset)
    with lock_run_directory(out, world):
        check_run_directory(out, recipe, resume)
        check_training_data(dataset, needs_captions=recipe.needs_captions, strict=strict)
        initial = load_initial_state(recipe, dataset, device, world) if recipe.init else None
        tokenizer = initial.tokenizer if initial else _load_or_train_tokenizer(recipe, dataset, out)
        data = describe_data(dataset)
        data += f", from weights {initial.weights_digest}" if initial else ""
        state = TrainState(recipe, data, device, world, initial)
        start_step = state.load_newest_checkpoint(out / "checkpoints") if resume else 0
        world.barrier()  # until all have read the directory: from here on it is written
        if world.is_main:
            prepare_run_directory(out, recipe, tokenizer)
            left_out = dataset.all_left_out(needs_captions=recipe.needs_captions)
            write_left_out(out, left_out, state.left_out)
        loader = _make_loader(recipe, dataset, tokenizer, world)
        trainer = Trainer(
            state,
            out,
            start_step,
            log=_open_log(state, out, start_step, report) if world.is_main else None,
            evaluators=evaluators,
            tokenizer=tokenizer,
            strict=strict,
        )
        with trainer.stop.listen():
            for step, batch in trainer.batches(loader, workers):
                values = trainer.values_to_sum(batch)
                with uninterruptible():
                    result = state.train_step(batch, step, *values)
                trainer.finish_step(step, batch, result)
        trainer.checkpoint_writer.wait()
        return _save_result(state, out, tokenizer, _make_provenance(recipe, dataset))


def _save_result(
    state: TrainState, out: Path, tokenizer: AnyTokenizer, provenance: Provenance
) -> Path:
    """Write what was trained, all processes together; returns the model's directory."""
    model, head = state.averaged_model(provenance), state.averaged_head()
    if state.world.is_main:
        if head is not None:
            save_head(head, out / "model")
        save_model(model, out / "model", tokenizer)
    state.world.barrier()
    return out / "model"


class Trainer:
    """The batches of a run and what follows each update: log, evaluation, checkpoint."""

    def __init__(
        self,
        state: TrainState,
        out: Path,
        start_step: int,
        *,
        log: TrainingLog | None,
        evaluators: Sequence[Evaluator],
        tokenizer: AnyTokenizer,
        strict: bool,
    ) -> None:
        self.state = state
        self.recipe = recipe = state.recipe
        self.out = out
        self.start_step = start_step
        self.log = log
        self.evaluators = evaluators
        self.tokenizer = tokenizer
        self.stop = StopSignal(defer=state.world.group is not None)
        start_position = start_step * recipe.batch_size
        self.bad_samples = BadSampleLog(
            out, start_position, recipe.max_bad_fraction, state.world, strict=strict
        )
        self.bad_samples.left_out = state.left_out
        self.checkpoint_writer = CheckpointWriter(
            out / "checkpoints", state.world, recipe.keep_checkpoints
        )
        self.saved_step, self.saved_at = start_step, time.monotonic()
        self.wait_seconds = 0.0

    def batches(self, loader: PairLoader, workers: int) -> Generator[tuple[int, Batch]]:
        """Each remaining step with its batch; the time spent waiting is measured.

        Raises:
            StoppedError: SIGTERM came.
        """
        is_cuda = self.state.device.type == "cuda"
        batches = loader.batches(
            self.start_step, self.recipe.steps, workers=workers, pin_memory=is_cuda
        )
        for step in range(self.start_step, self.recipe.steps):
            start = time.perf_counter()
            try:
                with self.stop.interruptible():
                    batch = next(batches)
            except Terminated:
                self._save_and_stop(step)
            self.wait_seconds = time.perf_counter() - start
            yield step, batch

    def values_to_sum(self, batch: Batch) -> tuple[float, ...]:
        """Values to sum over the processes in a step; `finish_step` reads the sums."""
        tokens = float((batch.tokens != self.tokenizer.pad_id).sum()) / batch.tokens[..., 0].numel()
        num_bad = self.bad_samples.record(batch)
        is_checkpoint_time = self._is_checkpoint_time()
        return self.stop.received, is_checkpoint_time, batch.num_truncated, num_bad, tokens

    def finish_step(self, step: int, batch: Batch, outcome: StepResult) -> None:
        """Log, evaluate and save after the update of `step`, whichever is due.

        Raises:
            DataError: Too many samples could not be used.
            DivergedError: Too many steps in a row were skipped.
            StoppedError: SIGTERM came.
        """
        num_stops, num_minutes, num_truncated, num_bad, tokens = outcome.reduced
        done = step + 1
        self.bad_samples.add_total(int(num_bad), done * self.recipe.batch_size)
        if not outcome.is_applied:
            self._handle_skipped_step(batch, done, outcome)
        if self.log is not None:
            self.log.learnability.observe(batch, outcome.loss)
            self.log.add_step(
                outcome.loss,
                int(num_truncated),
                grad_norm=outcome.grad_norm,
                wait_seconds=self.wait_seconds,
                caption_tokens=tokens / self.state.world.world_size,
                num_bad=int(num_bad),
                is_skipped=not outcome.is_applied,
            )
        saves = self._is_due(done, self.recipe.checkpoint_every) or num_minutes > 0 or num_stops > 0
        left_out = self.bad_samples.gather_left_out() if saves else None
        self._log_step(done, left_out)
        if left_out is not None:
            self._save_checkpoint(done, left_out)
        if (num_stops or (self.stop.received and not self.stop.defer)) and done < self.recipe.steps:
            self._save_and_stop(done)

    def _save_and_stop(self, step: int) -> NoReturn:
        """Save a checkpoint of all steps done, and stop."""
        if step > self.saved_step:
            self._save_checkpoint(step, self.bad_samples.gather_left_out())
        with uninterruptible():
            self.checkpoint_writer.wait()
        raise StoppedError(f"{self.out}: stopped at step {step} and saved: --resume goes on")

    def _log_step(self, step: int, left_out: LeftOut | None) -> None:
        """Evaluate and write a log entry if due; always before a checkpoint."""
        saves = left_out is not None
        measures = bool(self.evaluators) and self._is_due(step, self.recipe.eval_every)
        metrics = None
        if measures:
            with suppress(Terminated), self.stop.interruptible():
                metrics = self._evaluate()
        if self.log is None or not (saves or measures or self._is_due(step, self.recipe.log_every)):
            return
        self.log.metrics = metrics
        self.log.left_out = None if left_out is None else left_out.as_json()
        self.log.write(step, self.state.exponentiated_logit_scale)
        if left_out is not None:
            write_left_out(self.out, None, left_out)
            write_report(self.out, self.recipe)

    def _is_checkpoint_time(self) -> bool:
        """True on the main process if `checkpoint_every_minutes` have passed."""
        minutes = self.recipe.checkpoint_every_minutes
        over = minutes > 0 and time.monotonic() - self.saved_at >= 60 * minutes
        return over and self.state.world.is_main

    def _is_due(self, step: int, every: int) -> bool:
        return step % every == 0 or step == self.recipe.steps

    def _evaluate(self) -> dict[str, float]:
        """Metrics of the averaged model; each process has all of it."""
        model, head = self.state.averaged_model(), self.state.averaged_head()
        with self.state.world.propagate_errors():
            device = str(model.to(self.state.device).logit_scale.device)
            embedder = Embedder.from_model(
                model,
                self.tokenizer,
                device=device,
                precision="fp32",
                head=head,
                decode="exact",
            )
            return run_evaluators(self.evaluators, embedder, self.state.world)

    def _save_checkpoint(self, step: int, left_out: LeftOut) -> None:
        with uninterruptible():
            self.checkpoint_writer.save(
                self.state.state_tensors(), self.state.checkpoint_metadata(step, left_out)
            )
        self.saved_step, self.saved_at = step, time.monotonic()

    def _handle_skipped_step(self, batch: Batch, step: int, outcome: StepResult) -> None:
        """Write the batch of a skipped step; stop after too many of them in a row."""
        rank = self.state.world.rank
        path = self.out / SKIPPED_BATCHES_DIR / f"step-{step:08d}-rank-{rank:05d}.safetensors"
        tensors = {"pixels": batch.pixels, "tokens": batch.tokens, "concepts": batch.concept_ids}
        if self.state.loss_guard.skipped_steps <= MAX_SKIPPED_BATCHES:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_tensors(tensors, path, {"step": str(step), "loss": str(outcome.loss)})
        if self.state.loss_guard.has_diverged:
            self.checkpoint_writer.wait()
            raise DivergedError(
                f"{self.out}: the loss is {outcome.loss:g} and the gradient {outcome.grad_norm:g} "
                f"at step {step}, after {self.state.loss_guard.consecutive_skips} steps that were "
                "not taken, expected small numbers: a lower optim.lr or optim.grad_clip_norm=1 "
                f"may hold them; the batches are in {path.parent}"
            )


def _open_log(
    state: TrainState, out: Path, start_step: int, report: LogCallback | None
) -> TrainingLog:
    peak = state.world.world_size * peak_flops(state.device, state.dtype)
    return TrainingLog(
        out / "log.jsonl",
        state.recipe,
        start_step,
        report,
        device=state.device,
        peak_flops=peak,
        world_size=state.world.world_size,
    )


def _load_or_train_tokenizer(recipe: Recipe, dataset: Dataset, out: Path) -> Tokenizer:
    """Load CLIP's tokenizer, or train one on the captions; a resumed run loads its own."""
    size = recipe.model.text_config.vocab_size
    if recipe.model.tokenizer == "clip":
        tokenizer = Tokenizer.clip()
        require(
            tokenizer.vocab_size == size,
            "model.text.vocab_size",
            size,
            f"CLIP's {tokenizer.vocab_size}",
        )
        return tokenizer
    if list_checkpoints(out / "checkpoints"):
        return Tokenizer.from_file(out / TOKENIZER_FILE)
    captions = [caption for sample in dataset.samples for caption in sample.captions]
    if not captions:
        raise DataError(f"{dataset.name}: got no captions, expected a text for each image")
    return train_tokenizer(captions, size)


def _make_loader(
    recipe: Recipe, dataset: Dataset, tokenizer: AnyTokenizer, world: World
) -> PairLoader:
    config = recipe.model
    return PairLoader(
        dataset,
        tokenizer,
        batch_size=recipe.batch_size,
        image_size=config.preprocess_config.image_size,
        context_length=config.text_config.context_length,
        augmentation=recipe.augment,
        seed=recipe.seed,
        captions_per_image=recipe.captions_per_image,
        background=config.preprocess_config.background,
        rank=world.rank,
        world_size=world.world_size,
        patch_counts=_patch_counts(recipe),
        with_labels=not recipe.needs_captions,
    )


def _patch_counts(recipe: Recipe) -> tuple[int, int] | None:
    """Patches of an image and those that patch dropout leaves; None without patch dropout."""
    vision = recipe.model.vision
    if not recipe.patch_dropout or not isinstance(vision, ViTConfig):
        return None
    return num_patches(vision), num_patches(vision, recipe.patch_dropout)


def describe_data(dataset: Dataset) -> str:
    """Describe a data set in a checkpoint, so that a resumed run notices other data."""
    samples = dataset.samples
    return f"{len(samples)} samples of {dataset.name}, fingerprint {fingerprint(samples)}"


def _make_provenance(recipe: Recipe, dataset: Dataset) -> Provenance:
    return Provenance(
        name=recipe.name,
        source=f"fine-tuned from {recipe.init}" if recipe.init else "trained from scratch",
        recipe=recipe.name,
        data=dataset.name,
        samples_seen=recipe.steps * recipe.batch_size,
    )
