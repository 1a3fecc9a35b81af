"""Records of a benchmark: its options, its measurements, and the recommended settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from twinlens.benchmark.interference import Disturbance
from twinlens.benchmark.precision_costs import PrecisionCost
from twinlens.errors import require, require_known
from twinlens.types import EngineName, Precision

TowerName = Literal["image", "text"]

TWINLENS = "twinlens"

BASELINES = ("open_clip", "transformers")
"""Libraries that a benchmark compares with."""

MIN_COSINE = 0.999
"""Smallest cosine with float32 of a recommended precision."""

BATCH_TOLERANCE = 0.05
"""Fraction of the best throughput that a smaller recommended batch may lose."""

MAX_BATCH_SIZE = 4096
"""Largest batch size."""

_MILLION, _SECONDS_PER_HOUR = 1e6, 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkOptions:
    """Options of a benchmark.

    Attributes:
        precisions: The precisions, without "auto".
        batches: Batch sizes, in 1..4096.
        seconds: Time to spend on each throughput, approximately.
        price: Price of the machine for an hour, in US dollars.

    Raises:
        ConfigError: A number is out of its range, or there is nothing to measure.
        UnknownNameError: There is no such precision.
    """

    precisions: tuple[Precision, ...]
    batches: tuple[int, ...] = (1, 8, 32, 64)
    seconds: float = 0.7
    price: float | None = None

    def __post_init__(self) -> None:
        known = [name for name in get_args(Precision) if name != "auto"]
        for precision in self.precisions:
            require_known("precision", precision, known)
        require(len(self.precisions) > 0, "precision", self.precisions, "at least one")
        require(len(self.batches) > 0, "batch", self.batches, "at least one")
        for batch in self.batches:
            require(1 <= batch <= MAX_BATCH_SIZE, "batch", batch, f"1 to {MAX_BATCH_SIZE:,}")
        require(0 < self.seconds <= 600, "seconds", self.seconds, "more than 0, at most 600")
        price = self.price
        fair = price is None or (price > 0 and math.isfinite(price))
        require(fair, "price per hour", price, "more than 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkTarget:
    """A model in a library, as functions to time.

    Attributes:
        library: Name of the library, with its version if it is another one than ours.
        precision: The precision of its weights and computations.
        embed_images: Embeds uint8 [n, 3, size, size] on the device, an array on a processor and a
            tensor elsewhere; normalised by our code. Returns when the embeddings are complete.
        embed_texts: Embeds strings, tokenised by the library; the same.
    """

    library: str
    precision: str
    embed_images: Callable[[Any], object]
    embed_texts: Callable[[Sequence[str]], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """Throughput and latency of one library, precision, tower and batch size.

    Attributes:
        library: "twinlens", or another library with its version.
        precision: The precision of its computations.
        tower: "image" or "text".
        batch: Batch size.
        calls: Number of timed calls.
        per_second: Images or texts a second, by the median call.
        low: The same by the upper quartile of the calls' durations.
        high: The same by the lower quartile.
        p50_ms: Median duration of a call in milliseconds.
        p99_ms: 99th percentile of the durations; near the maximum if there are under 100 calls.
        ceiling_share: The model's FLOP/s as a fraction of those of a large matrix product in the
            same precision; None if these were not measured.
        ratio: Our throughput divided by this one; None if this one is ours.
    """

    library: str
    precision: str
    tower: TowerName
    batch: int
    calls: int
    per_second: float
    low: float
    high: float
    p50_ms: float
    p99_ms: float
    ceiling_share: float | None = None
    ratio: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkFailure:
    """A throughput that could not be measured, and the reason."""

    library: str
    precision: str
    tower: TowerName
    batch: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeThroughput:
    """JPEG files a second, decoded and resized to the model's input on `threads` threads."""

    decode: str
    threads: int
    per_second: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """Recommended settings of a tower: the fastest precision near float32, a small batch size.

    `cost_per_million` is the price of a million images or texts in US dollars, if there is one.
    """

    tower: TowerName
    precision: str
    batch: int
    per_second: float
    cost_per_million: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult:
    """Everything that a benchmark measured of a model on a machine.

    Attributes:
        model: Name of the model.
        random_weights: True if the weights are random.
        engine: The runtime that computed.
        device: The device that computed, as torch names it: "cpu", "cuda:0".
        machine: Name of the device, cores, threads, and versions of the software; that of the
            runtime has the engine's name.
        asked: Options of the benchmark.
        image_size: Side of the images in pixels; None without an image tower.
        tokens_per_text: Mean number, with start and end tokens; None without a text tower.
        precisions: Costs of each precision.
        ceilings: FLOP/s of a large matrix product by precision: the best measured.
        rates: The throughputs.
        failures: Throughputs that could not be measured.
        decode: Throughputs of decoding.
        disturbance: Other work on the machine meanwhile.
        recommended: Settings for each tower that has any; none if the machine was disturbed.
    """

    model: str
    random_weights: bool
    engine: EngineName
    device: str
    machine: dict[str, str | int]
    asked: BenchmarkOptions
    image_size: int | None
    tokens_per_text: float | None
    precisions: list[PrecisionCost]
    ceilings: dict[str, float]
    rates: list[Throughput]
    failures: list[BenchmarkFailure]
    decode: list[DecodeThroughput]
    disturbance: Disturbance
    recommended: list[Recommendation]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; `disturbed` is true if the benchmark is unreliable."""
        return asdict(self) | {"disturbed": self.is_disturbed}

    @property
    def is_disturbed(self) -> bool:
        """True if other work on the machine makes the benchmark unreliable."""
        return bool(self.disturbance.reasons)

    @property
    def towers(self) -> list[TowerName]:
        """The towers that were measured."""
        measured: list[TowerName] = [one.tower for one in (*self.rates, *self.failures)]
        return list(dict.fromkeys(measured))


def recommend_setting(
    tower: TowerName,
    throughputs: Sequence[Throughput],
    precision_costs: Sequence[PrecisionCost],
    price_per_hour: float | None,
) -> Recommendation | None:
    """Recommend the fastest precision near float32 and the smallest batch about as fast.

    None if no precision is near enough, or nothing could be measured.
    """
    near = {one.precision for one in precision_costs if one.cosines[tower] >= MIN_COSINE}
    fit = [
        rate
        for rate in throughputs
        if rate.library == TWINLENS and rate.tower == tower and rate.precision in near
    ]
    if not fit:
        return None
    best = max(fit, key=lambda rate: rate.per_second)
    enough = (1 - BATCH_TOLERANCE) * best.per_second
    chosen = min(
        (rate for rate in fit if rate.precision == best.precision and rate.per_second >= enough),
        key=lambda rate: rate.batch,
    )
    cost = (
        None
        if price_per_hour is None
        else price_per_hour / _SECONDS_PER_HOUR * _MILLION / chosen.per_second
    )
    return Recommendation(
        tower=tower,
        precision=chosen.precision,
        batch=chosen.batch,
        per_second=chosen.per_second,
        cost_per_million=cost,
    )


def format_dollars(amount: float) -> str:
    """Format US dollars to the cent, or to three digits below a dollar.

    Example:
        >>> format_dollars(12.345), format_dollars(0.020149)
        ('$12.35', '$0.0201')
    """
    return f"${amount:,.2f}" if amount >= 1 else f"${amount:.3g}"
