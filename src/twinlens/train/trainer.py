"""The training loop: `fit` turns a recipe and a data set into a model's directory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from twinlens.checkpoints.head import save_head
from twinlens.checkpoints.native import save_model, write_tensors
from twinlens.config import Provenance, ViTConfig
from twinlens.data.datasets import Dataset
from twinlens.data.fingerprint import fingerprint
from twinlens.data.left_out import LeftOut
from twinlens.data.loader import Batch, PairLoader
from twinlens.distributed.world import World
from twinlens.embed.embedder import Embedder
from twinlens.errors import ConfigError, DataError, DivergedError, StoppedError
from twinlens.model.flops import patch_count
from twinlens.signals import Terminated, unhurried
from twinlens.text.clip_bpe import Tokenizer, train_tokenizer
from twinlens.text.loading import TOKENIZER_FILE, AnyTokenizer
from twinlens.train.bad_samples import BadSamples
from twinlens.train.checkpoint import CheckpointWriter, list_checkpoints
from twinlens.train.directory import begin, check_out, one_run
from twinlens.train.finetune.initial import start_of
from twinlens.train.left_out import check_data, known, write_left_out
from twinlens.train.log import Log, Reporter
from twinlens.train.loss_guard import StopSignal
from twinlens.train.planning.devices import peak_flops
from twinlens.train.recipes.recipe import Recipe
from twinlens.train.report import write_page
from twinlens.train.state import Outcome, Run

SKIPPED = "skipped"
"""Directory of the batches whose steps were not taken."""

MOST_KEPT = 20
"""Of those batches: enough to find the cause, and not a disk full of them."""

Evaluator = Callable[[Embedder], Mapping[str, float]]


def fit(
    recipe: Recipe,
    dataset: Dataset,
    out: Path,
    *,
    resume: bool = False,
    evaluate: Evaluator | None = None,
    report: Reporter | None = None,
    device: str = "auto",
    workers: int = 0,
    world: World | None = None,
    strict: bool = False,
) -> Path:
    """Train, and write the model to `out/model`.

    The weights depend on the recipe, the data, the precision that "auto" picks, the number of
    threads and processes and the versions of torch and of the processor's kernels; on nothing
    else. A run that was killed and resumed gives the same weights as one that was not.

    Args:
        recipe: Everything that decides the run.
        dataset: Images with captions.
        out: Gets `recipe.json`, `log.jsonl`, `checkpoints/` and `model/`. All processes of a world
            must see the same directory.
        resume: Go on from the newest checkpoint in `out`, or from the start if there is none.
        evaluate: Called with what is to be shipped (the moving average, in float32), on the
            device of the run: the model, its vocabulary and its classifier if one is trained. In
            a world it is called in every process at once, and the leader's answer is logged.
        report: Called with each line of the log.
        device: A torch device; "auto" takes CUDA where there is one.
        workers: Processes that read images beside this one.
        world: The processes that train together; this one alone if not given.
        strict: Refuse data of which anything is left out, and end at the first sample that cannot
            be used.

    Returns:
        The model's directory.

    Raises:
        CheckpointError: `out` holds another run, or one is under way there, or it cannot be
            written.
        ConfigError: `out` holds a run of other settings, each of which is named.
        DataError: The data set is empty, or too many of its samples cannot be used.
        DivergedError: The loss exploded and did not come back.
        StoppedError: SIGTERM came: all is saved, to go on with `resume`.
    """
    world = world or World()
    with one_run(out, world):
        return _fit(
            recipe,
            dataset,
            out,
            resume=resume,
            evaluate=evaluate,
            report=report,
            device=device,
            workers=workers,
            world=world,
            strict=strict,
        )


def _fit(
    recipe: Recipe,
    dataset: Dataset,
    out: Path,
    *,
    resume: bool,
    evaluate: Evaluator | None,
    report: Reporter | None,
    device: str,
    workers: int,
    world: World,
    strict: bool,
) -> Path:
    """The same, in a directory that is this run's alone."""
    check_out(out, recipe, resume)
    needs_captions = recipe.adapt.head == "none"
    check_data(dataset, needs_captions=needs_captions, strict=strict)
    start = start_of(recipe, dataset, device, world) if recipe.init else None
    tokenizer = start.tokenizer if start else _vocabulary(recipe, dataset, out)
    data = describe(dataset) + (f", from weights {start.digest}" if start else "")
    run = Run(recipe, data, device, world, start)
    first = run.load_newest(out / "checkpoints") if resume else 0
    world.wait()  # until all have looked: from here on the directory is written
    if world.leads:
        begin(out, recipe, tokenizer)
        write_left_out(out, known(dataset, needs_captions=needs_captions), run.left_out)
    log = _log(run, out, first, report) if world.leads else None
    loader = _loader(recipe, dataset, tokenizer, world)
    bad = BadSamples(out, first * recipe.batch_size, recipe.max_bad_share, world, strict=strict)
    bad.left_out = run.left_out
    loop = Loop(run, out, log=log, bad=bad, evaluate=evaluate, tokenizer=tokenizer)
    batches = loader.batches(first, recipe.steps, workers=workers, pin=run.device.type == "cuda")
    loop.run_from(batches, first)
    model, head = run.shipped_model(_provenance(recipe, dataset)), run.shipped_head()
    if world.leads:
        if head is not None:
            save_head(head, out / "model")
        save_model(model, out / "model", tokenizer)
    world.wait()
    return out / "model"


class Loop:
    """One run's steps, and what follows each: the log, the evaluation, the checkpoint."""

    def __init__(
        self,
        run: Run,
        out: Path,
        *,
        log: Log | None,
        bad: BadSamples,
        evaluate: Evaluator | None,
        tokenizer: AnyTokenizer,
    ) -> None:
        self.run = run
        self.recipe = run.recipe
        self.log = log
        self.bad = bad
        self.out = out
        self.evaluate = evaluate
        self.tokenizer = tokenizer
        self.writer = CheckpointWriter(out / "checkpoints", run.world, run.recipe.keep_checkpoints)
        self.saved, self.saved_at = 0, time.monotonic()
        self.waited = 0.0

    def run_from(self, batches: Iterator[Batch], first: int) -> None:
        """All steps from `first` on.

        Raises:
            StoppedError: SIGTERM came.
        """
        self.saved = first
        with StopSignal(waits=self.run.world.group is not None) as stop:
            for step in range(first, self.recipe.steps):
                asked = time.perf_counter()
                try:
                    with stop.at_once():
                        batch = next(batches)
                except Terminated:
                    self._stop(step)
                self.waited = time.perf_counter() - asked
                self._step(batch, step, stop)
        self.writer.finish()

    def _step(self, batch: Batch, step: int, stop: StopSignal) -> None:
        tokens = float((batch.tokens != self.tokenizer.pad_id).sum()) / batch.tokens[..., 0].numel()
        listed = self.bad.list(batch)
        with unhurried():
            outcome = self.run.train_step(
                batch,
                step,
                stop.heard,
                self._minutes_are_over(),
                batch.truncated,
                listed,
                tokens,
            )
        stops, minutes, truncated, bad, tokens = outcome.sums
        done = step + 1
        self.bad.count(int(bad), done * self.recipe.batch_size)
        if not outcome.taken:
            self._skip(batch, done, outcome)
        if self.log is not None:
            self.log.doubts.look(batch, outcome.loss)
            self.log.count(
                outcome.loss,
                int(truncated),
                grad_norm=outcome.grad_norm,
                waited=self.waited,
                tokens=tokens / self.run.world.world_size,
                bad=int(bad),
                skipped=not outcome.taken,
            )
        saves = self._is_due(done, self.recipe.checkpoint_every) or minutes > 0 or stops > 0
        left_out = self.bad.of_all() if saves else None
        self._report(done, stop, left_out)
        if left_out is not None:
            self._save(done, left_out)
        if (stops or (stop.heard and not stop.waits)) and done < self.recipe.steps:
            self._stop(done)

    def _stop(self, done: int) -> NoReturn:
        """End as told to, with all that was done on the disk."""
        if done > self.saved:
            self._save(done, self.bad.of_all())
        with unhurried():
            self.writer.finish()
        raise StoppedError(f"{self.out}: stopped at step {done} and saved: --resume goes on")

    def _report(self, done: int, stop: StopSignal, left_out: LeftOut | None) -> None:
        """Measure and write a line of the log, where it is time to; always before a checkpoint."""
        saves = left_out is not None
        measures = self.evaluate is not None and self._is_due(done, self.recipe.eval_every)
        metrics = None
        if measures:
            with suppress(Terminated), stop.at_once():
                metrics = self._measured()
        if self.log is None or not (saves or measures or self._is_due(done, self.recipe.log_every)):
            return
        self.log.metrics = metrics
        self.log.left_out = None if left_out is None else left_out.as_json()
        self.log.write(done, self.run.scale)
        if left_out is not None:
            write_left_out(self.out, None, left_out)
            write_page(self.out, self.recipe)

    def _minutes_are_over(self) -> bool:
        """Whether the leader's clock says that it is time for a checkpoint."""
        minutes = self.recipe.checkpoint_minutes
        over = minutes > 0 and time.monotonic() - self.saved_at >= 60 * minutes
        return over and self.run.world.leads

    def _is_due(self, done: int, every: int) -> bool:
        return done % every == 0 or done == self.recipe.steps

    def _measured(self) -> dict[str, float] | None:
        """What all processes find together, each with the whole model that is to be shipped."""
        if self.evaluate is None:
            return None
        model, head = self.run.shipped_model(), self.run.shipped_head()
        with self.run.world.together():
            device = str(model.to(self.run.device).logit_scale.device)
            lens = Embedder(
                model,
                self.tokenizer,
                device=device,
                precision="fp32",
                head=head,
                decode="exact",
            )
            return dict(self.evaluate(lens))

    def _save(self, done: int, left_out: LeftOut) -> None:
        with unhurried():
            self.writer.save(self.run.state(), self.run.facts(done, left_out))
        self.saved, self.saved_at = done, time.monotonic()

    def _skip(self, batch: Batch, done: int, outcome: Outcome) -> None:
        """Keep the batch of a step that was not taken; give up after too many of them."""
        rank = self.run.world.rank
        path = self.out / SKIPPED / f"step-{done:08d}-rank-{rank:05d}.safetensors"
        tensors = {"pixels": batch.pixels, "tokens": batch.tokens, "concepts": batch.concepts}
        if self.run.guard.skipped <= MOST_KEPT:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_tensors(tensors, path, {"step": str(done), "loss": str(outcome.loss)})
        if self.run.guard.gives_up:
            self.writer.finish()
            raise DivergedError(
                f"{self.out}: the loss is {outcome.loss:g} and the gradient {outcome.grad_norm:g} "
                f"at step {done}, after {self.run.guard.in_a_row} steps that were not taken, "
                f"expected small numbers: a lower optim.lr or optim.clip_norm=1 may hold them; "
                f"the batches are in {path.parent}"
            )


def _log(run: Run, out: Path, first: int, report: Reporter | None) -> Log:
    peak = run.world.world_size * peak_flops(run.device, run.dtype)
    return Log(
        out / "log.jsonl",
        run.recipe,
        first,
        report,
        device=run.device,
        peak=peak,
        processes=run.world.world_size,
    )


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
        raise DataError(f"{dataset.name}: got no captions, expected a text for each image")
    return train_tokenizer(captions, size)


def _loader(recipe: Recipe, dataset: Dataset, tokenizer: AnyTokenizer, world: World) -> PairLoader:
    config = recipe.model
    return PairLoader(
        dataset,
        tokenizer,
        batch_size=recipe.batch_size,
        image_size=config.image_input.image_size,
        context_length=config.text_input.context_length,
        augmentation=recipe.augment,
        seed=recipe.seed,
        captions=recipe.captions,
        background=config.image_input.background,
        rank=world.rank,
        world_size=world.world_size,
        patches=_patches(recipe),
        labels=recipe.adapt.head != "none",
    )


def _patches(recipe: Recipe) -> tuple[int, int] | None:
    """Patches of an image, and how many of them patch dropout leaves; None where it leaves all."""
    vision = recipe.model.vision
    if not recipe.patch_dropout or not isinstance(vision, ViTConfig):
        return None
    return patch_count(vision), patch_count(vision, recipe.patch_dropout)


def describe(dataset: Dataset) -> str:
    """What a checkpoint says of its data, so that a resumed run notices other data."""
    samples = dataset.samples
    return f"{len(samples)} samples of {dataset.name}, fingerprint {fingerprint(samples)}"


def _provenance(recipe: Recipe, dataset: Dataset) -> Provenance:
    return Provenance(
        name=recipe.name,
        source=f"fine-tuned from {recipe.init}" if recipe.init else "trained from scratch",
        recipe=recipe.name,
        data=dataset.name,
        samples_seen=recipe.steps * recipe.batch_size,
    )
