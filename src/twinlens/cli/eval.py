# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""`twinlens eval`: measure a model on data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from twinlens.cli.data import open_dataset_with_progress
from twinlens.cli.given import check_output_directory, remove_on_error
from twinlens.cli.options import (
    Device,
    Engine,
    ImageColumn,
    Json,
    Model,
    Separator,
    Strict,
    Templates,
    TextColumn,
    comma_separated,
    one_of,
    parse_counts,
)
from twinlens.cli.output import log, log_left_out, print_json, print_table, progress_reporter
from twinlens.errors import ConfigError, require_known
from twinlens.types import DecodeMode, Precision, TaskName, no_progress

if TYPE_CHECKING:
    from twinlens.data.samples import Dataset
    from twinlens.data.sources.columns import Columns
    from twinlens.data.splits import DatasetSplits
    from twinlens.distributed.world import World
    from twinlens.embed.embedder import Embedder
    from twinlens.embed.feature_cache import FeatureCache
    from twinlens.eval.results.result import TaskResult
    from twinlens.eval.suite import EvalOptions
    from twinlens.eval.tasks.classification import ClassificationResult

_MAX_WORST_CLASSES = 15
_MAX_SHOTS = 9_999_999


def evaluate_command(
    model: Model,
    *,
    data: Annotated[
        list[str], typer.Option(metavar="SPEC", help="A directory, table, tars; repeatable.")
    ],
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            parser=one_of(get_args(TaskName)),
            metavar="|".join(get_args(TaskName)),
            help="What to measure; repeatable. [default: zero-shot]",
        ),
    ] = None,
    templates: Templates = None,
    language: Annotated[str, typer.Option(help="Which of the data set's names to use.")] = "en",
    train: Annotated[
        str | None, typer.Option(metavar="SPEC", help="What a probe learns from, of one --data.")
    ] = None,
    val: Annotated[
        str | None, typer.Option(metavar="SPEC", help="Images that choose the probe's L2 penalty.")
    ] = None,
    shots: Annotated[
        str, typer.Option(metavar="N,...", help="Also probe with few images a class, as 1,2,4.")
    ] = "",
    seeds: Annotated[
        int, typer.Option(min=1, max=1000, help="Times that few images are drawn.")
    ] = 5,
    shifted: Annotated[
        list[str] | None,
        typer.Option(metavar="SPEC", help="For robustness: sets of the same classes; repeatable."),
    ] = None,
    corruptions: Annotated[
        str, typer.Option(metavar="NAME,...", help="For robustness: all, none, or some by name.")
    ] = "all",
    baseline: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Supervised models' results on --shifted; repeatable."),
    ] = None,
    reference: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="A supervised model's results, shown beside; repeatable."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Directory for JSON, CSV and the report.")
    ] = None,
    cache_dir: Annotated[
        Path | None, typer.Option(help="Where features are cached; by default ~/.cache/twinlens.")
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Do not cache features on disk.")
    ] = False,
    image_column: ImageColumn = None,
    text_column: TextColumn = None,
    separator: Separator = None,
    strict: Strict = False,
    engine: Engine = "auto",
    device: Device = "auto",
    precision: Annotated[Precision, typer.Option(help="What to compute in.")] = "auto",
    decode: Annotated[
        DecodeMode, typer.Option(help="Pixels as the reference's, or nearly so and faster.")
    ] = "exact",
    as_json: Json = False,
) -> None:
    """Measure a model on data sets: figures with 95% intervals, chance, and a report."""
    from twinlens.data.sources.columns import Columns
    from twinlens.distributed.world import distributed_world
    from twinlens.embed.loading import load
    from twinlens.eval.results.references import read_baselines, read_references
    from twinlens.eval.suite import EvalOptions

    chosen: tuple[TaskName, ...] = tuple(
        cast("Any", task) for task in dict.fromkeys(tasks or ["zero-shot"])
    )
    _check_outputs(out, cache_dir)
    _check_prompt_options(chosen, has_prompts=bool(templates) or language != "en")
    _check_probe_options(chosen, train or val or shots, len(data) if train or val else 1)
    _check_robustness_options(chosen, shifted, baseline, corruptions)
    columns = Columns(image=image_column, text=text_column, separator=separator)
    with distributed_world() as world, world.propagate_errors():
        datasets = _open_datasets(data, train, val, columns, shows_progress=world.is_main)
        _check_datasets(datasets, chosen, strict=strict)
        options = EvalOptions(
            tasks=chosen,
            templates=tuple(templates or ()),
            language=language,
            shots=parse_counts("--shots", shots, _MAX_SHOTS),
            num_seeds=seeds,
            shifted=tuple(
                open_dataset_with_progress(spec, shows_progress=world.is_main)
                for spec in shifted or ()
            ),
            corruptions=_parse_corruptions(corruptions),
            baselines=read_baselines(baseline or ()),
            references=read_references(reference or ()),
        )
        embedder = load(model, engine=engine, device=device, precision=precision, decode=decode)
        with remove_on_error(cache_dir, keep_pattern="*"):
            cache = None if no_cache else _open_cache(cache_dir, embedder)
            measured = _run_suite(embedder, cache, datasets, options, world)
    if world.is_main:
        _report_results(model, embedder, measured, chosen, out, as_json=as_json)


def _check_outputs(out: Path | None, cache_dir: Path | None) -> None:
    if out is not None and (out.suffix in (".json", ".html", ".csv") or out.is_file()):
        raise ConfigError(f"--out: got {out}, expected a directory for JSON, CSV and the report")
    check_output_directory("--out", out)
    check_output_directory("--cache-dir", cache_dir)


def _check_prompt_options(tasks: Sequence[TaskName], *, has_prompts: bool) -> None:
    if has_prompts and not {"zero-shot", "robustness"} & set(tasks):
        raise ConfigError(
            "--template and --language: got one, expected none: of these tasks none asks in words"
        )


def _check_probe_options(tasks: Sequence[TaskName], probing: str | None, num_datasets: int) -> None:
    if probing and "linear-probe" not in tasks:
        raise ConfigError("--train, --val and --shots: got one, expected --task linear-probe")
    if num_datasets > 1:
        raise ConfigError(
            f"--train and --val: got one for {num_datasets} data sets, expected one --data"
        )


def _check_robustness_options(
    tasks: Sequence[TaskName],
    shifted: list[str] | None,
    baseline: list[Path] | None,
    corruptions: str,
) -> None:
    if (shifted or baseline or corruptions != "all") and "robustness" not in tasks:
        raise ConfigError(
            "--shifted, --baseline and --corruptions: got one, expected --task robustness"
        )
    if baseline and not shifted:
        raise ConfigError("--baseline: got one without --shifted, expected the sets that it is of")


def _open_datasets(
    specs: Sequence[str],
    train: str | None,
    val: str | None,
    columns: Columns,
    *,
    shows_progress: bool,
) -> list[DatasetSplits]:
    from twinlens.data.splits import open_splits

    with progress_reporter("indexing tars") as progress:
        shown = progress if shows_progress else no_progress
        return [
            open_splits(spec, train=train, val=val, progress=shown, columns=columns)
            for spec in specs
        ]


def _needs_captions(tasks: Sequence[TaskName]) -> bool:
    return bool({"retrieval", "scores"} & set(tasks))


def _check_datasets(
    datasets: Sequence[DatasetSplits], tasks: Sequence[TaskName], *, strict: bool
) -> None:
    if strict:
        for parts in datasets:
            parts.test.all_left_out(needs_captions=_needs_captions(tasks)).refuse(parts.name)
    names = [parts.name for parts in datasets]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise ConfigError(f"--data: got {double!r} twice, expected data sets of different names")


def _parse_corruptions(text: str) -> tuple[str, ...]:
    from twinlens.images.corruptions import CORRUPTIONS

    if text in ("all", "none"):
        return tuple(CORRUPTIONS) if text == "all" else ()
    names = tuple(comma_separated(text))
    for name in names:
        require_known("corruption", name, [*CORRUPTIONS, "all", "none"])
    return names


def _open_cache(directory: Path | None, embedder: Embedder) -> FeatureCache:
    from twinlens.embed.feature_cache import FeatureCache, default_cache_dir

    return FeatureCache(directory or default_cache_dir(), embedder)


def _run_suite(
    embedder: Embedder,
    cache: FeatureCache | None,
    datasets: Sequence[DatasetSplits],
    options: EvalOptions,
    world: World,
) -> list[tuple[TaskResult, Dataset]]:
    from twinlens.eval.context import EvalContext
    from twinlens.eval.suite import run_suite

    with progress_reporter("evaluating") as progress:
        shown = progress if world.is_main else no_progress
        context = EvalContext(embedder, cache, world, shown)
        measured = list(run_suite(context, datasets, options, shown))
    if cache is not None and world.is_main:
        log(_cache_message(cache))
    return measured


def _cache_message(cache: FeatureCache) -> str:
    where = f"features are kept in {cache.directory}"
    if not cache.num_computed:
        return f"nothing was computed: {where}"
    return f"computed {cache.num_computed:,} images and texts: {where}"


def _report_results(
    model: str,
    embedder: Embedder,
    measured: Sequence[tuple[TaskResult, Dataset]],
    tasks: Sequence[TaskName],
    out: Path | None,
    *,
    as_json: bool,
) -> None:
    provenance = embedder.config.provenance
    pretrained = provenance.recipe or provenance.source
    answers = [result.to_dict(model=model, pretrained=pretrained) for result, _ in measured]
    for dataset in {dataset.name: dataset for _, dataset in measured}.values():
        left_out = dataset.all_left_out(needs_captions=_needs_captions(tasks))
        log_left_out(left_out, f"left out of {dataset.name}")
    for result, _ in measured:
        for key, reason in result.unreadable.items():
            log(f"unreadable: {key}: {reason}")
        for note in result.all_notes():
            log(f"note: {result.dataset}: {note}")
    if as_json:
        print_json(answers[0] if len(answers) == 1 else answers)
    else:
        _print_results(model, [result for result, _ in measured])
    if out is not None:  # last: should it fail, the answer is printed already
        _write_results(out, embedder, model, pretrained, measured)


def _write_results(
    out: Path,
    embedder: Embedder,
    model: str,
    pretrained: str,
    measured: Sequence[tuple[TaskResult, Dataset]],
) -> None:
    from twinlens.cli.output import write_text
    from twinlens.eval.report import evaluation_page
    from twinlens.eval.results.files import write_results

    results = [result for result, _ in measured]
    facts = {
        "Trained by": pretrained,
        "Precision": embedder.precision,
        "Decoding": embedder.decode,
        "Device": embedder.device,
    }
    with remove_on_error(out):
        write_results(out, results, model=model, pretrained=pretrained)
        write_text(out / "report.html", evaluation_page(measured, model_name=model, facts=facts))
    log(f"wrote {len(results)} results, results.csv and report.html to {out}")


def _print_results(model: str, results: Sequence[TaskResult]) -> None:
    """The metrics of everything; of a single classification also the classes that went worst."""
    from twinlens.eval.tasks.classification import ClassificationResult

    rows = [_metric_row(result, key) for result in results for key in result.metrics]
    columns = ("Data", "Task", "Metric", "Value", "95% interval", "Chance", "Supervised")
    print_table(columns, rows, title=f"{model} on {_format_sizes(results)}")
    if len(results) == 1 and isinstance(results[0], ClassificationResult):
        _print_worst_classes(results[0])


def _metric_row(result: TaskResult, metric: str) -> tuple[str, ...]:
    from twinlens.eval.results.files import best_references
    from twinlens.eval.results.metric_names import format_metric

    low_high = [format_metric(metric, end) for end in result.intervals.get(metric, ())]
    chance, reference = result.chance.get(metric), best_references(result).get(metric)
    return (
        result.dataset,
        result.task,
        metric,
        format_metric(metric, result.metrics[metric]),
        " to ".join(low_high),
        "" if chance is None else format_metric(metric, chance),
        "" if reference is None else format_metric(metric, reference.value),
    )


def _format_sizes(results: Sequence[TaskResult]) -> str:
    """Format the numbers of images and classes."""
    images = {result.dataset: result.num_samples for result in results}
    if len(images) > 1:
        return f"{len(images)} data sets, {sum(images.values()):,} images"
    [(name, count)] = images.items()
    classes = getattr(results[0], "num_classes", None)
    among = f", {classes:,} classes" if classes else ""
    return f"{name}: {count:,} images{among}"


def _print_worst_classes(result: ClassificationResult) -> None:
    typer.echo()
    worst = [
        (one.classname, f"{one.recall:.1%}", str(one.samples), one.mistaken_for or "")
        for one in result.per_class[:_MAX_WORST_CLASSES]
    ]
    title = f"Worst {len(worst)} of {len(result.per_class):,} classes that have images"
    print_table(("Class", "Recall", "Images", "Most often mistaken for"), worst, title=title)
