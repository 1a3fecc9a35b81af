# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""What `twinlens eval` does once its words are read: open, measure, answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import typer

from twinlens.cli.given import check_directory, undone
from twinlens.cli.options import log_left_out
from twinlens.cli.output import counting, log, print_json, print_table
from twinlens.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from twinlens.data.left_out import LeftOut
    from twinlens.data.samples import Dataset
    from twinlens.data.sources.columns import Columns
    from twinlens.data.splits import Parts
    from twinlens.distributed.world import World
    from twinlens.embed.embedder import Embedder
    from twinlens.eval.results.result import Result
    from twinlens.eval.suite import Asked, Task
    from twinlens.eval.tasks.classification import Classification
    from twinlens.model.precision import Precision

_SHOWN_CLASSES = 15

_SPEC = "a data set such as images/, digits or fashion-mnist"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The words of the command, as Typer read them; see `twinlens eval --help`."""

    model: str | None
    data: tuple[str, ...]
    tasks: tuple[str, ...]
    templates: tuple[str, ...]
    language: str
    train: str | None
    val: str | None
    shots: str
    seeds: int
    shifted: tuple[str, ...]
    corruptions: str
    baseline: tuple[Path, ...]
    reference: tuple[Path, ...]
    out: Path | None
    cache: Path | None
    keep: bool
    device: str
    precision: str
    decode: Literal["exact", "fast"]
    columns: Columns
    strict: bool
    as_json: bool


def evaluate(wanted: Wanted) -> None:
    """Measure every task on every data set, and answer.

    Raises:
        ConfigError: Words are missing or do not go together.
        DataError: A data set cannot be read, or lacks what a task needs.
    """
    from twinlens.distributed.world import joined_world

    _check(wanted)
    with joined_world() as world, world.together():
        datasets = _open(wanted, world)
        asked = _asked(wanted, world)
        lens = _load(wanted)
        with undone(wanted.cache, worth="*"):
            measured = _run(wanted, lens, datasets, asked, world)
    if world.leads:
        _answer(wanted, lens, measured)


def _check(wanted: Wanted) -> None:
    """Refuse words that are missing, or that none of the tasks would read."""
    if not wanted.model or not wanted.data:
        missing = "MODEL" if not wanted.model else "--data"
        raise ConfigError(f"{missing}: got none, expected a model and {_SPEC}, or --compare")
    out, tasks = wanted.out, set(wanted.tasks)
    if out is not None and (out.suffix in (".json", ".html", ".csv") or out.is_file()):
        raise ConfigError(f"--out: got {out}, expected a directory for JSON, CSV and the report")
    check_directory("--out", out)
    check_directory("--cache", wanted.cache)
    words = bool(wanted.templates) or wanted.language != "en"
    if words and not tasks & {"zero-shot", "robustness"}:
        raise ConfigError(
            "--template and --language: got one, expected none: of these tasks none asks in words"
        )
    probing = wanted.train or wanted.val or wanted.shots
    if probing and "linear-probe" not in tasks:
        raise ConfigError("--train, --val and --shots: got one, expected --task linear-probe")
    shifts = wanted.shifted or wanted.baseline or wanted.corruptions != "all"
    if shifts and "robustness" not in tasks:
        raise ConfigError(
            "--shifted, --baseline and --corruptions: got one, expected --task robustness"
        )
    if wanted.baseline and not wanted.shifted:
        raise ConfigError("--baseline: got one without --shifted, expected the sets that it is of")
    if (wanted.train or wanted.val) and len(wanted.data) > 1:
        raise ConfigError(
            f"--train and --val: got one for {len(wanted.data)} data sets, expected one --data"
        )


def _open(wanted: Wanted, world: World) -> list[Parts]:
    from twinlens.data.splits import open_parts

    with counting("indexing tars") as progress:
        shown = progress if world.leads else None
        opened = [
            open_parts(
                spec,
                train=wanted.train,
                val=wanted.val,
                progress=shown,
                columns=wanted.columns,
            )
            for spec in wanted.data
        ]
    if wanted.strict:
        for parts in opened:
            _left_out(parts.test, wanted.tasks).refuse(parts.name)
    names = [parts.name for parts in opened]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise ConfigError(f"--data: got {double!r} twice, expected data sets of different names")
    return opened


def _left_out(dataset: Dataset, tasks: Sequence[str]) -> LeftOut:
    """What a data set leaves out; images without captions only where tasks read captions."""
    from twinlens.data.left_out import joined

    words = bool({"retrieval", "scores"} & set(tasks))
    return joined([dataset.left_out, *([dataset.without_caption] if words else [])])


def _asked(wanted: Wanted, world: World) -> Asked:
    from twinlens.cli.data import open_shown
    from twinlens.eval.results.references import baselines, references
    from twinlens.eval.suite import Asked

    return Asked(
        tasks=tuple(cast("Task", task) for task in dict.fromkeys(wanted.tasks)),
        templates=wanted.templates,
        language=wanted.language,
        shots=_numbers(wanted.shots),
        seeds=wanted.seeds,
        shifted=tuple(open_shown(spec, shows=world.leads) for spec in wanted.shifted),
        corruptions=_corruptions(wanted.corruptions),
        baseline=baselines(wanted.baseline),
        references=references(wanted.reference),
    )


def _numbers(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not all(word.isdecimal() and len(word) < 8 and int(word) for word in words):
        raise ConfigError(
            f"--shots: got {text!r}, expected numbers up to 9,999,999, such as 1,2,4,8,16"
        )
    return tuple(sorted({int(word) for word in words}))


def _corruptions(text: str) -> tuple[str, ...]:
    from twinlens.images.corruptions import CORRUPTIONS

    if text in ("all", "none"):
        return tuple(CORRUPTIONS) if text == "all" else ()
    names = tuple(word.strip() for word in text.split(",") if word.strip())
    for name in names:
        if name not in CORRUPTIONS:
            raise UnknownNameError("corruption", name, [*CORRUPTIONS, "all", "none"])
    return names


def _load(wanted: Wanted) -> Embedder:
    from twinlens.embed.embedder import load

    return load(
        str(wanted.model),
        device=wanted.device,
        precision=cast("Precision", wanted.precision),  # a wrong one is refused there
        decode=wanted.decode,
    )


def _run(
    wanted: Wanted, lens: Embedder, datasets: Sequence[Parts], asked: Asked, world: World
) -> list[tuple[Result, Dataset]]:
    from twinlens.embed.feature_cache import Store, default_folder
    from twinlens.eval.context import Features
    from twinlens.eval.suite import run

    store = Store(wanted.cache or default_folder(), lens) if wanted.keep else None
    with counting("evaluating") as progress:
        shown = progress if world.leads else None
        features = Features(lens, store, world, shown)
        measured = list(run(features, datasets, asked, shown))
    if store is not None and world.leads:
        log(_said(store))
    return measured


def _said(store: Any) -> str:
    kept = f"features are kept in {store.folder}"
    if not store.computed:
        return f"nothing was computed: {kept}"
    return f"computed {store.computed:,} images and texts: {kept}"


def _answer(wanted: Wanted, lens: Embedder, measured: Sequence[tuple[Result, Dataset]]) -> None:
    provenance = lens.config.provenance
    model, pretrained = str(wanted.model), provenance.recipe or provenance.source
    answers = [result.to_dict(model=model, pretrained=pretrained) for result, _ in measured]
    for dataset in {dataset.name: dataset for _, dataset in measured}.values():
        log_left_out(_left_out(dataset, wanted.tasks), f"left out of {dataset.name}")
    for result, dataset in measured:
        _log_oddities(result, dataset)
    if wanted.as_json:
        print_json(answers[0] if len(answers) == 1 else answers)
    else:
        _print(model, [result for result, _ in measured])
    if wanted.out is not None:  # last: should it fail, the answer is printed already
        _write(wanted.out, lens, model, pretrained, measured)


def _log_oddities(result: Result, dataset: Dataset) -> None:
    from twinlens.eval.tasks.classification import Classification
    from twinlens.eval.tasks.multi_label import MultiLabelResult

    for key, reason in result.unreadable.items():
        log(f"unreadable: {key}: {reason}")
    for note in result.notes:
        log(f"note: {dataset.name}: {note}")
    if isinstance(result, Classification) and result.unnamed_classes:
        named = f"without a name in {result.language!r}"
        log(f"left out: {result.unnamed_classes} classes {named}")
    if isinstance(result, Classification | MultiLabelResult):
        for name, labels in result.shared_names.items():
            told = f"{len(labels)} classes are called {name!r}: {', '.join(labels)}"
            log(f"note: {dataset.name}: {told}")


def _write(
    out: Path,
    lens: Embedder,
    model: str,
    pretrained: str,
    measured: Sequence[tuple[Result, Dataset]],
) -> None:
    from twinlens.cli.output import write_text
    from twinlens.eval.report import Measured, report_page
    from twinlens.eval.results.files import write_results

    results = [result for result, _ in measured]
    facts = {
        "Trained by": pretrained,
        "Precision": lens.precision,
        "Decoding": lens.decode,
        "Device": str(lens.device),
    }
    pieces = [Measured(result=result, dataset=dataset) for result, dataset in measured]
    with undone(out):
        write_results(out, results, model=model, pretrained=pretrained)
        write_text(out / "report.html", report_page(pieces, model=model, facts=facts))
    log(f"wrote {len(results)} results, results.csv and report.html to {out}")


def _print(model: str, results: Sequence[Result]) -> None:
    """The metrics of everything; of a single classification also the classes that went worst."""
    from twinlens.eval.tasks.classification import Classification

    rows = [_row(result, key) for result in results for key in result.metrics]
    columns = ("Data", "Task", "Metric", "Value", "95% interval", "Chance", "Supervised")
    print_table(columns, rows, title=f"{model} on {_sizes(results)}")
    if len(results) == 1 and isinstance(results[0], Classification):
        _print_worst(results[0])


def _row(result: Result, metric: str) -> tuple[str, ...]:
    from twinlens.eval.results.files import best_references
    from twinlens.eval.results.metric_names import written

    low_high = [written(metric, end) for end in result.intervals.get(metric, ())]
    chance, reference = result.chance.get(metric), best_references(result).get(metric)
    return (
        result.dataset,
        result.task,
        metric,
        written(metric, result.metrics[metric]),
        " to ".join(low_high),
        "" if chance is None else written(metric, chance),
        "" if reference is None else written(metric, reference.value),
    )


def _sizes(results: Sequence[Result]) -> str:
    """How much was measured."""
    images = {result.dataset: result.samples for result in results}
    if len(images) > 1:
        return f"{len(images)} data sets, {sum(images.values()):,} images"
    [(name, count)] = images.items()
    classes = getattr(results[0], "classes", None)
    among = f", {classes:,} classes" if classes else ""
    return f"{name}: {count:,} images{among}"


def _print_worst(result: Classification) -> None:
    typer.echo()
    worst = [
        (one.classname, f"{one.recall:.1%}", str(one.samples), one.mistaken_for or "")
        for one in result.per_class[:_SHOWN_CLASSES]
    ]
    title = f"Worst {len(worst)} of {len(result.per_class):,} classes that have images"
    print_table(("Class", "Recall", "Images", "Most often mistaken for"), worst, title=title)
