"""What a machine does with a model: images and texts a second, by precision and batch."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Protocol

import torch
from jaxtyping import UInt8
from torch import Tensor

from twinlens import __version__
from twinlens.benchmark import synthetic_inputs
from twinlens.benchmark.interference import CpuMonitor, Disturbance, check_disturbance
from twinlens.benchmark.precision_costs import embed_pixels, measure_precisions
from twinlens.benchmark.records import (
    TWINLENS,
    BenchmarkFailure,
    BenchmarkOptions,
    BenchmarkResult,
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
from twinlens.inference.device import device_name, measure_peak_flops, synchronize
from twinlens.model.flops import image_flops, text_flops
from twinlens.model.precision import has_fast_bf16, has_fast_fp16
from twinlens.types import ProgressCallback

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.config import PreprocessConfig

DECODERS: Mapping[str, Callable[[bytes, PreprocessConfig], NDArray[Any]]] = {
    "exact": to_pixels,
    "fast": partial(to_pixels, decode="fast"),
}
"""Ways from a file to pixels, by name."""

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""What a matrix product can be measured in."""

_NUM_JPEGS = 32


class BenchmarkTarget(Protocol):
    """A library with a model: unit vectors of raw pixels and of strings."""

    @property
    def library(self) -> str:
        """Its name, and a peer's version."""
        ...

    @property
    def precision(self) -> str:
        """What it computes in."""
        ...

    def embed_images(self, pixels: UInt8[Tensor, "n 3 size size"], /) -> object:
        """Images on the device."""
        ...

    def embed_texts(self, texts: Sequence[str], /) -> object:
        """Strings."""
        ...


@dataclass(frozen=True, slots=True)
class TwinlensTarget:
    """The calls that users of twinlens make."""

    embedder: Embedder
    library: str = TWINLENS

    @property
    def precision(self) -> str:
        """The Embedder's."""
        return self.embedder.precision

    def embed_images(self, pixels: UInt8[Tensor, "n 3 size size"], /) -> Tensor:
        """Images on the device: normalised, encoded, made unit length."""
        return embed_pixels(self.embedder, pixels)

    def embed_texts(self, texts: Sequence[str], /) -> object:
        """Strings: tokenised, encoded, made unit length."""
        return self.embedder.embed_texts(texts)


def benchmark_precisions(device: torch.device) -> tuple[str, ...]:
    """The precisions that are worth measuring on a device."""
    worth = {
        "fp32": True,
        "bf16": has_fast_bf16(device),
        "fp16": has_fast_fp16(device),
        "int8": device.type == "cpu",
    }
    return tuple(precision for precision in worth if worth[precision])


def run_benchmark(
    path: Path,
    options: BenchmarkOptions,
    *,
    model: str,
    device: torch.device,
    has_random_weights: bool = False,
    baselines: Sequence[BenchmarkTarget] = (),
    progress: ProgressCallback,
) -> BenchmarkResult:
    """Measure a model on this machine, and peers beside it.

    Images are noise on the device, so that the tower alone counts; texts are strings, and the
    tokenizer counts, too. All rates are taken in turn.

    Args:
        path: The model's directory or file.
        options: What to measure.
        model: What to call it.
        device: Where.
        has_random_weights: Whether the weights are only there to be measured.
        baselines: Other libraries with the same model.
        progress: Told what is being measured.

    Raises:
        CheckpointError: The model cannot be read.
    """
    watch = CpuMonitor()
    found = measure_precisions(path, options.precisions, device, max(options.batches), progress)
    lenses, standings = [lens for lens, _ in found], [one for _, one in found]
    config, lens = lenses[0].config, lenses[0]
    texts = (
        [] if config.text is None else synthetic_inputs.synthetic_texts(config.text, lens.tokenizer)
    )
    lengths = [synthetic_inputs.count_tokens(text, lens.tokenizer) for text in texts]
    contestants = [*map(TwinlensTarget, lenses), *baselines]
    calls = dict(_embedding_calls(contestants, config, options.batches, texts, device))
    decoding, peaks = _decoding_calls(config), _MatmulPeaks(options.precisions, device)
    time_interleaved([*calls.values(), *decoding.values(), *peaks.calls], options.seconds, progress)
    ceilings = peaks.best_by_precision()
    rates = [
        _throughput(
            key, timed, _flops_per_item(config, key.tower, lengths), ceilings.get(key.precision)
        )
        for key, timed in calls.items()
        if not timed.failure
    ]
    rates = [replace(rate, ratio=_speedup(rate, rates)) for rate in rates]
    towers: dict[TowerName, bool] = {"image": config.vision is not None, "text": bool(texts)}
    seen = _measure_disturbance(watch, rates, device)
    settings = [
        recommend_setting(tower, rates, standings, options.price)
        for tower in towers
        if towers[tower] and not seen.reasons
    ]
    return BenchmarkResult(
        model=model,
        random_weights=has_random_weights,
        device=str(device),
        machine=_describe_machine(device),
        asked=options,
        image_size=config.preprocess.image_size if config.preprocess else None,
        tokens_per_text=fmean(lengths) if lengths else None,
        precisions=standings,
        ceilings=ceilings,
        rates=rates,
        failures=[
            BenchmarkFailure(**asdict(key), reason=timed.failure)
            for key, timed in calls.items()
            if timed.failure
        ],
        decode=[
            _decode_throughput(name, timed) for name, timed in decoding.items() if not timed.failure
        ],
        disturbance=seen,
        recommended=[setting for setting in settings if setting is not None],
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
    device: torch.device,
) -> Iterator[tuple[_BenchmarkCase, TimedCall]]:
    """Those of one tower and batch follow each other: they are what is compared."""

    @cache  # inside the calls: memory may not suffice for the images, either
    def pixels(batch: int) -> Tensor:
        return synthetic_inputs.random_pixels(batch, config.preprocess_config, device)

    def embed_images(contestant: BenchmarkTarget, batch: int) -> None:
        contestant.embed_images(pixels(batch))
        synchronize(device)

    def embed_texts(
        contestant: BenchmarkTarget, batch: int, stream: synthetic_inputs.TextStream
    ) -> None:
        contestant.embed_texts(stream.next_batch(batch))
        synchronize(device)

    for batch in batch_sizes:
        for one in targets:
            if config.vision is not None:
                key = _BenchmarkCase(one.library, one.precision, "image", batch)
                yield key, TimedCall(str(key), partial(embed_images, one, batch))
        for one in targets:
            if texts:
                key = _BenchmarkCase(one.library, one.precision, "text", batch)
                stream = synthetic_inputs.TextStream(texts)
                yield key, TimedCall(str(key), partial(embed_texts, one, batch, stream))


def _decoding_calls(config: CLIPConfig) -> dict[str, TimedCall]:
    if config.vision is None:
        return {}

    def decode(one: Callable[[bytes, PreprocessConfig], object]) -> None:
        files = synthetic_inputs.synthetic_jpegs(_NUM_JPEGS)
        with ThreadPoolExecutor(usable_cpu_count()) as pool:  # as an Embedder does
            list(pool.map(one, files, [config.preprocess_config] * len(files)))

    return {
        name: TimedCall(f"decoding, {name}", partial(decode, one)) for name, one in DECODERS.items()
    }


class _MatmulPeaks:
    """What a matrix product reaches, asked between the other calls; the best counts."""

    def __init__(self, precisions: Sequence[str], device: torch.device) -> None:
        self._measured: dict[str, list[float]] = {
            precision: [] for precision in precisions if precision in _DTYPES
        }
        self.calls = [
            TimedCall(f"matrix product, {precision}", partial(self._measure, precision, device))
            for precision in self._measured
        ]

    def _measure(self, precision: str, device: torch.device) -> None:
        self._measured[precision].append(measure_peak_flops(device, _DTYPES[precision]))

    def best_by_precision(self) -> dict[str, float]:
        """By precision; without those that memory did not suffice for."""
        return {precision: max(found) for precision, found in self._measured.items() if found}


def _decode_throughput(name: str, timed: TimedCall) -> DecodeThroughput:
    return DecodeThroughput(
        decode=name,
        threads=usable_cpu_count(),
        per_second=_NUM_JPEGS / timed.quantile(0.5),
        low=_NUM_JPEGS / timed.quantile(0.75),
        high=_NUM_JPEGS / timed.quantile(0.25),
    )


def _throughput(
    case: _BenchmarkCase, timed: TimedCall, flops: float, peak_flops: float | None
) -> Throughput:
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
    )


def _measure_disturbance(
    monitor: CpuMonitor, rates: Sequence[Throughput], device: torch.device
) -> Disturbance:
    """What else went on, by our own rates: another library may have reasons of its own."""
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    return check_disturbance(
        monitor.other_cores_busy(), threads, [one for one in rates if one.library == TWINLENS]
    )


def _flops_per_item(config: CLIPConfig, tower: TowerName, token_counts: Sequence[int]) -> float:
    """Of one image, or of the mean text: padding is no work that was asked for."""
    if tower == "image":
        assert config.vision is not None
        return image_flops(config.vision, config.embed_dim).forward
    return fmean(text_flops(config.text_config, config.embed_dim, n).forward for n in token_counts)


def _speedup(rate: Throughput, rates: Sequence[Throughput]) -> float | None:
    """Our rate by this one, if this is a peer's and ours is there."""
    if rate.library == TWINLENS:
        return None
    where = (rate.precision, rate.tower, rate.batch)
    ours = [
        one.per_second
        for one in rates
        if one.library == TWINLENS and (one.precision, one.tower, one.batch) == where
    ]
    return ours[0] / rate.per_second if ours else None


def _describe_machine(device: torch.device) -> dict[str, str | int]:
    return {
        "device": device_name(device),
        "cores": usable_cpu_count(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "twinlens": __version__,
    }
