"""What is said of a model's speed: what was asked, what was measured, what to set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from twinlens.benchmark.interference import Disturbance
from twinlens.benchmark.precision_costs import PrecisionCost
from twinlens.embed.embedder import Precision
from twinlens.errors import UnknownNameError, require

TowerName = Literal["image", "text"]

TWINLENS = "twinlens"
MIN_COSINE = 0.999
"""The least cosine with float32 that a recommended precision may have."""

BATCH_TOLERANCE = 0.05
"""How far below the best rate that of the recommended batch may be."""

MAX_BATCH_SIZE = 4096
"""The largest batch."""

_MILLION, _SECONDS_PER_HOUR = 1e6, 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkOptions:
    """What to measure.

    Attributes:
        precisions: Of `ExportPrecision`, without "auto".
        batches: Images or texts at once, in 1..4096.
        seconds: For each rate, about.
        price: Of the machine for an hour, in US dollars.

    Raises:
        ConfigError: A number is out of its range, or there is nothing to measure.
        UnknownNameError: There is no such precision.
    """

    precisions: tuple[str, ...]
    batches: tuple[int, ...] = (1, 8, 32, 64)
    seconds: float = 0.7
    price: float | None = None

    def __post_init__(self) -> None:
        known = [name for name in get_args(Precision) if name != "auto"]
        for precision in self.precisions:
            if precision not in known:
                raise UnknownNameError("precision", precision, known)
        require(len(self.precisions) > 0, "precision", self.precisions, "at least one")
        require(len(self.batches) > 0, "batch", self.batches, "at least one")
        for batch in self.batches:
            require(1 <= batch <= MAX_BATCH_SIZE, "batch", batch, f"1 to {MAX_BATCH_SIZE:,}")
        require(0 < self.seconds <= 600, "seconds", self.seconds, "more than 0, at most 600")
        price = self.price
        fair = price is None or (price > 0 and math.isfinite(price))
        require(fair, "price per hour", price, "more than 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """One library at one precision and batch.

    Attributes:
        library: "twinlens", or a peer with its version.
        precision: What it computed in.
        tower: "image" or "text".
        batch: Images or texts at once.
        calls: How many were timed.
        per_second: Images or texts a second, by the median call.
        low: The same by the upper quartile of the calls' times.
        high: The same by the lower one.
        p50_ms: The median call, in milliseconds.
        p99_ms: What 99% of the calls did not exceed; of fewer than a hundred, about the slowest.
        ceiling_share: The model's operations as a share of what a matrix product reaches here in
            that precision; None where that is not known.
        ratio: Our rate by a peer's.
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
    """What could not be measured, and why."""

    library: str
    precision: str
    tower: TowerName
    batch: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeThroughput:
    """JPEG files a second to the pixels that the model reads, on so many threads."""

    decode: str
    threads: int
    per_second: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """What to set for a tower: the fastest precision that is near float32, the least batch.

    `cost_per_million` is in US dollars, of images or texts, where a price was given.
    """

    tower: TowerName
    precision: str
    batch: int
    per_second: float
    cost_per_million: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult:
    """All that was measured of a model on a machine.

    Attributes:
        model: Its name.
        random_weights: Whether the weights were only there to be measured.
        device: Where.
        machine: Its device's name, cores, threads, and the versions of what was run.
        asked: What was to be measured.
        image_size: Side of the images in pixels; None without an image tower.
        tokens_per_text: On average, start and end counted; None without a text tower.
        precisions: Of each what it asks of the machine, and how near it is to float32.
        ceilings: Operations a second of a large matrix product, by precision: the best seen.
        rates: What was measured.
        failures: What was not.
        decode: Files a second.
        disturbance: What else went on meanwhile.
        recommended: For each tower, where there is a setting to recommend; of a machine that was
            disturbed, none.
    """

    model: str
    random_weights: bool
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
        """As plain JSON types; `disturbed` is whether there is a reason not to trust them."""
        return asdict(self) | {"disturbed": self.is_disturbed}

    @property
    def is_disturbed(self) -> bool:
        """True if other work made the figures what they are."""
        return bool(self.disturbance.reasons)

    @property
    def towers(self) -> list[TowerName]:
        """Those that the model has."""
        measured: list[TowerName] = [one.tower for one in (*self.rates, *self.failures)]
        return list(dict.fromkeys(measured))


def recommend_setting(
    tower: TowerName,
    throughputs: Sequence[Throughput],
    precision_costs: Sequence[PrecisionCost],
    price_per_hour: float | None,
) -> Recommendation | None:
    """The best precision near float32, and the smallest batch that is about as fast.

    None where no precision is near enough, or nothing could be measured.
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
    """To the cent, or to three digits below a dollar.

    Example:
        >>> format_dollars(12.345), format_dollars(0.020149)
        ('$12.35', '$0.0201')
    """
    return f"${amount:,.2f}" if amount >= 1 else f"${amount:.3g}"
