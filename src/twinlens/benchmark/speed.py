"""Throughput of a model on this machine: images and texts a second, by precision and batch."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, partial
from itertools import cycle, islice
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from twinlens import __version__
from twinlens.benchmark import synthetic_inputs
from twinlens.benchmark.engines import (
    PRODUCT_PRECISIONS,
    device_name,
    measure_peak_flops,
    num_threads,
    runtime_version,
)
from twinlens.benchmark.interference import CpuMonitor, Disturbance, check_disturbance
from twinlens.benchmark.precision_costs import measure_precisions
from twinlens.benchmark.records import (
    TWINLENS,
    BenchmarkFailure,
    BenchmarkOptions,
    BenchmarkResult,
    BenchmarkTarget,
    DecodeThroughput,
    Throughput,
    TowerName,
    recommend_setting,
)
from twinlens.benchmark.timing import TimedCall, time_interleaved
from twinlens.config import CLIPConfig
from twinlens.embed.embedder import Embedder
from twinlens.hardware import usable_cpu_count
from twinlens.images.decode import to_pixels
from twinlens.model.flops import image_flops, text_flops
from twinlens.types import EngineName, Precision, ProgressCallback

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.config import PreprocessConfig

DECODERS: Mapping[str, Callable[[bytes, PreprocessConfig], NDArray[Any]]] = {
    "exact": to_pixels,
    "fast": partial(to_pixels, decode="fast"),
}
"""Decoders of image files by the name of their mode."""

_NUM_JPEGS = 32


def run_benchmark(
    path: Path,
    options: BenchmarkOptions,
    *,
    model: str,
    engine: EngineName,
    device: str,
    has_random_weights: bool = False,
    baselines: Sequence[BenchmarkTarget] = (),
    progress: ProgressCallback,
) -> BenchmarkResult:
    """Measure a model on this machine, and the baselines with it.

    Images are noise on the device, so that only the tower is timed; texts are strings, so that the
    tokenizer is timed too. All calls are interleaved.

    Args:
        path: Directory or file of the model.
        options: What to measure.
        model: Name of the model.
        engine: The runtime that computes: see `choose_engine`.
        device: The device to compute on: "cpu", "cuda:0".
        has_random_weights: True if the weights are random.
        baselines: Other libraries with the same model.
        progress: Called before each measurement.

    Raises:
        CheckpointError: The model cannot be read.
    """
    monitor = CpuMonitor()
    measured = measure_precisions(
        path,
        options.precisions,
        engine=engine,
        device=device,
        max_batch_size=max(options.batches),
        progress=progress,
    )
    embedders, costs = [embedder for embedder, _ in measured], [cost for _, cost in measured]
    config, first = embedders[0].config, embedders[0]  # a model without texts has no tokenizer
    texts = synthetic_inputs.synthetic_texts(config.text, first.tokenizer) if config.text else []
    lengths = [synthetic_inputs.count_tokens(text, first.tokenizer) for text in texts]
    targets = [*map(_twinlens_target, embedders), *baselines]
    calls = dict(_embedding_calls(targets, config, options.batches, texts, device))
    decoding, peaks = _decoding_calls(config), _MatmulPeaks(options.precisions, engine, device)
    time_interleaved([*calls.values(), *decoding.values(), *peaks.calls], options.seconds, progress)
    ceilings = peaks.best_by_precision()
    done = {case: timed for case, timed in calls.items() if not timed.failure}
    ours = {
        (case.precision, case.tower, case.batch): timed.quantile(0.5)
        for case, timed in done.items()
        if case.library == TWINLENS
    }
    rates = [
        _throughput(
            case,
            timed,
            _flops_per_item(config, case.tower, lengths),
            ceilings.get(case.precision),
            ours.get((case.precision, case.tower, case.batch)),
        )
        for case, timed in done.items()
    ]
    towers: dict[TowerName, bool] = {"image": config.vision is not None, "text": bool(texts)}
    disturbance = _measure_disturbance(monitor, rates, engine, device)
    settings = [
        recommend_setting(tower, rates, costs, options.price)
        for tower in towers
        if towers[tower] and not disturbance.reasons
    ]
    return BenchmarkResult(
        model=model,
        random_weights=has_random_weights,
        engine=engine,
        device=device,
        machine=_describe_machine(engine, device),
        asked=options,
        image_size=config.preprocess.image_size if config.preprocess else None,
        tokens_per_text=fmean(lengths) if lengths else None,
        precisions=costs,
        ceilings=ceilings,
        rates=rates,
        failures=[
            BenchmarkFailure(**asdict(case), reason=timed.failure)
            for case, timed in calls.items()
            if timed.failure
        ],
        decode=[
            _decode_throughput(name, timed) for name, timed in decoding.items() if not timed.failure
        ],
        disturbance=disturbance,
        recommended=[setting for setting in settings if setting is not None],
    )


def _twinlens_target(embedder: Embedder) -> BenchmarkTarget:
    """The calls that users of twinlens make."""
    return BenchmarkTarget(
        library=TWINLENS,
        precision=embedder.precision,
        embed_images=embedder.embed_pixels,
        embed_texts=embedder.embed_texts,
    )


@dataclass(frozen=True, slots=True)
class _BenchmarkCase:
    library: str
    precision: str
    tower: TowerName
    batch: int

    def __str__(self) -> str:
        return f"{self.library}, {self.precision}, {self.tower}s, batch {self.batch}"


def _embedding_calls(
    targets: Sequence[BenchmarkTarget],
    config: CLIPConfig,
    batch_sizes: Sequence[int],
    texts: list[str],
    device: str,
) -> Iterator[tuple[_BenchmarkCase, TimedCall]]:
    """The calls to time. Those that are compared, of one tower and batch size, are adjacent."""

    @cache  # called inside the timed calls: these images may also be too large for the memory
    def pixels(batch: int) -> Any:
        return synthetic_inputs.random_pixels(batch, config.preprocess_config, device)

    def embed_images(target: BenchmarkTarget, batch: int) -> None:
        target.embed_images(pixels(batch))

    def embed_texts(target: BenchmarkTarget, batch: int, stream: Iterator[str]) -> None:
        target.embed_texts(list(islice(stream, batch)))

    for batch in batch_sizes:
        for target in targets:
            if config.vision is not None:
                case = _BenchmarkCase(target.library, target.precision, "image", batch)
                yield case, TimedCall(str(case), partial(embed_images, target, batch))
        for target in targets:
            if texts:
                case = _BenchmarkCase(target.library, target.precision, "text", batch)
                yield case, TimedCall(str(case), partial(embed_texts, target, batch, cycle(texts)))


def _decoding_calls(config: CLIPConfig) -> dict[str, TimedCall]:
    if config.vision is None:
        return {}

    def decode(decoder: Callable[[bytes, PreprocessConfig], object]) -> None:
        files = synthetic_inputs.synthetic_jpegs(_NUM_JPEGS)
        with ThreadPoolExecutor(usable_cpu_count()) as pool:  # as an Embedder does
            list(pool.map(decoder, files, [config.preprocess_config] * len(files)))

    return {
        name: TimedCall(f"decoding, {name}", partial(decode, decoder))
        for name, decoder in DECODERS.items()
    }


class _MatmulPeaks:
    """Peak FLOP/s of matrix products, measured between the other calls."""

    def __init__(self, precisions: Sequence[Precision], engine: EngineName, device: str) -> None:
        self._measured: dict[Precision, list[float]] = {
            precision: [] for precision in precisions if precision in PRODUCT_PRECISIONS
        }
        self.calls = [
            TimedCall(
                f"matrix product, {precision}", partial(self._measure, engine, device, precision)
            )
            for precision in self._measured
        ]

    def _measure(self, engine: EngineName, device: str, precision: Precision) -> None:
        self._measured[precision].append(measure_peak_flops(engine, device, precision))

    def best_by_precision(self) -> dict[str, float]:
        """Best FLOP/s by precision, without precisions that ran out of memory."""
        return {precision: max(rates) for precision, rates in self._measured.items() if rates}


def _decode_throughput(name: str, timed: TimedCall) -> DecodeThroughput:
    return DecodeThroughput(
        decode=name,
        threads=usable_cpu_count(),
        per_second=_NUM_JPEGS / timed.quantile(0.5),
        low=_NUM_JPEGS / timed.quantile(0.75),
        high=_NUM_JPEGS / timed.quantile(0.25),
    )


def _throughput(
    case: _BenchmarkCase,
    timed: TimedCall,
    flops: float,
    peak_flops: float | None,
    twinlens_seconds: float | None,
) -> Throughput:
    """Summarise the durations of a call; `twinlens_seconds` is the median of ours."""
    is_baseline = case.library != TWINLENS
    per_second = case.batch / timed.quantile(0.5)
    return Throughput(
        **asdict(case),
        calls=len(timed.seconds),
        per_second=per_second,
        low=case.batch / timed.quantile(0.75),
        high=case.batch / timed.quantile(0.25),
        p50_ms=1e3 * timed.quantile(0.5),
        p99_ms=1e3 * timed.quantile(0.99),
        ceiling_share=flops * per_second / peak_flops if peak_flops else None,
        ratio=case.batch / twinlens_seconds / per_second
        if is_baseline and twinlens_seconds
        else None,
    )


def _measure_disturbance(
    monitor: CpuMonitor, rates: Sequence[Throughput], engine: EngineName, device: str
) -> Disturbance:
    """Check for interference; the spread is that of our calls: a library may vary by itself."""
    threads = num_threads(engine) if device == "cpu" else 1
    spreads = [
        (1 / rate.low - 1 / rate.high) * rate.per_second
        for rate in rates
        if rate.library == TWINLENS
    ]
    return check_disturbance(monitor.other_cores_busy(), threads, median(spreads or [0.0]))


def _flops_per_item(config: CLIPConfig, tower: TowerName, token_counts: Sequence[int]) -> float:
    """FLOPs of an image, or of a text on average; padding does not count as useful work."""
    if tower == "image":
        assert config.vision is not None
        return image_flops(config.vision, config.embed_dim).forward
    return fmean(text_flops(config.text_config, config.embed_dim, n).forward for n in token_counts)


def _describe_machine(engine: EngineName, device: str) -> dict[str, str | int]:
    return {
        "device": device_name(device),
        "cores": usable_cpu_count(),
        "threads": num_threads(engine),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        engine: runtime_version(engine),
        "twinlens": __version__,
    }
