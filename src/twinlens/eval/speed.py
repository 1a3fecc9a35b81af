"""What a machine does with a model: pictures and texts a second, by precision and batch."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import torch
from jaxtyping import UInt8
from torch import Tensor

from twinlens import __version__
from twinlens.config import CLIPConfig
from twinlens.data.images import to_pixels
from twinlens.embedder import Embedder, Precision
from twinlens.errors import UnknownNameError, require
from twinlens.eval import workload
from twinlens.eval.standing import Standing, encode_pixels, stand
from twinlens.eval.timing import Timed, time_in_turn
from twinlens.hardware import device_name, synchronize
from twinlens.model.flops import image_cost, text_cost
from twinlens.model.precision import has_fast_bf16
from twinlens.types import Count

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.config import PreprocessConfig

Tower = Literal["image", "text"]

OURS = "twinlens"
GATE = 0.999
"""The least cosine with float32 that a recommended precision may have."""

NEAR = 0.05
"""How far below the best rate that of the recommended batch may be."""

MOST = 4096
"""The largest batch."""

DECODERS: Mapping[str, Callable[[bytes, PreprocessConfig], NDArray[Any]]] = {"exact": to_pixels}
"""Ways from a file to pixels, by name."""

_JPEGS = 32
_MILLION, _HOUR = 1e6, 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What to measure.

    Attributes:
        precisions: Of `Precision`, without "auto".
        batches: Pictures or texts at once, in 1..4096.
        seconds: For each rate, about.
        price: Of the machine for an hour, in US dollars.

    Raises:
        ConfigError: A number is out of its range, or there is nothing to measure.
        UnknownNameError: There is no such precision.
    """

    precisions: tuple[str, ...]
    batches: tuple[int, ...] = (1, 8, 32, 64)
    seconds: float = 1.0
    price: float | None = None

    def __post_init__(self) -> None:
        known = [name for name in get_args(Precision) if name != "auto"]
        for precision in self.precisions:
            if precision not in known:
                raise UnknownNameError("precision", precision, known)
        require(len(self.precisions) > 0, "precision", self.precisions, "at least one")
        require(len(self.batches) > 0, "batch", self.batches, "at least one")
        for batch in self.batches:
            require(1 <= batch <= MOST, "batch", batch, f"1 to {MOST:,}")
        require(0 < self.seconds <= 600, "seconds", self.seconds, "more than 0, at most 600")
        price = self.price
        fair = price is None or (price > 0 and math.isfinite(price))
        require(fair, "price per hour", price, "more than 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """One library at one precision and batch.

    Attributes:
        library: "twinlens", or a peer with its version.
        precision: What it computed in.
        tower: "image" or "text".
        batch: Pictures or texts at once.
        calls: How many were timed.
        per_second: Pictures or texts a second, by the median call.
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
    tower: Tower
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
class Failure:
    """What could not be measured, and why."""

    library: str
    precision: str
    tower: Tower
    batch: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeRate:
    """JPEG files a second to the pixels that the model reads, on so many threads."""

    decode: str
    threads: int
    per_second: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What to set for a tower: the fastest precision that is near float32, the least batch.

    `cost_per_million` is in US dollars, of pictures or texts, where a price was given.
    """

    tower: Tower
    precision: str
    batch: int
    per_second: float
    cost_per_million: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """All that was measured of a model on a machine."""

    model: str
    random_weights: bool
    device: str
    machine: dict[str, str | int]
    asked: Asked
    image_size: int | None
    tokens_per_text: float | None
    precisions: list[Standing]
    rates: list[Rate]
    failures: list[Failure]
    decode: list[DecodeRate]
    recommended: list[Setting]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)

    @property
    def towers(self) -> list[Tower]:
        """Those that the model has."""
        measured = [one.tower for one in (*self.rates, *self.failures)]
        return list(dict.fromkeys(measured))


class Contestant(Protocol):
    """A library with a model: unit vectors of raw pixels and of strings."""

    @property
    def library(self) -> str:
        """Its name, and a peer's version."""
        ...

    @property
    def precision(self) -> str:
        """What it computes in."""
        ...

    def images(self, pixels: UInt8[Tensor, "n 3 size size"], /) -> object:
        """Pictures on the device."""
        ...

    def texts(self, texts: Sequence[str], /) -> object:
        """Strings."""
        ...


@dataclass(frozen=True, slots=True)
class Ours:
    """The calls that users of twinlens make."""

    lens: Embedder
    library: str = OURS

    @property
    def precision(self) -> str:
        """The Embedder's."""
        return self.lens.precision

    def images(self, pixels: UInt8[Tensor, "n 3 size size"], /) -> Tensor:
        """Pictures on the device: normalised, encoded, made unit length."""
        return encode_pixels(self.lens, pixels)

    def texts(self, texts: Sequence[str], /) -> object:
        """Strings: tokenised, encoded, made unit length."""
        return self.lens.embed_texts(texts)


def precisions_for(device: torch.device) -> tuple[str, ...]:
    """The precisions that are worth measuring on a device."""
    return ("fp32", "bf16") if has_fast_bf16(device) else ("fp32",)


def measure(
    path: Path,
    asked: Asked,
    *,
    model: str,
    device: torch.device,
    random_weights: bool = False,
    peers: Sequence[Contestant] = (),
    progress: Count,
) -> Speed:
    """Measure a model on this machine, and peers beside it.

    Pictures are noise on the device, so that the tower alone counts; texts are strings, and the
    tokenizer counts, too. All rates are taken in turn.

    Args:
        path: The model's directory or file.
        asked: What to measure.
        model: What to call it.
        device: Where.
        random_weights: Whether the weights are only there to be measured.
        peers: Other libraries with the same model.
        progress: Told what is being measured.

    Raises:
        CheckpointError: The model cannot be read.
    """
    found = stand(path, asked.precisions, device, max(asked.batches), progress)
    lenses, standings = [lens for lens, _ in found], [one for _, one in found]
    config, lens = lenses[0].config, lenses[0]
    texts = [] if config.text is None else workload.texts(config.text, lens.tokenizer)
    lengths = [workload.token_count(text, lens.tokenizer) for text in texts]
    contestants = [*map(Ours, lenses), *peers]
    calls = {key: timed for key, timed in _calls(contestants, config, asked.batches, texts, device)}
    decoding = _decoding(config)
    time_in_turn([*calls.values(), *decoding.values()], asked.seconds, progress)
    ceilings = {one.precision: one.ceiling for one in standings}
    rates = [
        _rate(key, timed, _operations(config, key.tower, lengths), ceilings.get(key.precision))
        for key, timed in calls.items()
        if not timed.failed
    ]
    rates = [replace(rate, ratio=_ratio(rate, rates)) for rate in rates]
    towers: list[Tower] = ["image"] * (config.vision is not None) + ["text"] * bool(texts)
    settings = [recommend(tower, rates, standings, asked.price) for tower in towers]
    return Speed(
        model=model,
        random_weights=random_weights,
        device=str(device),
        machine=_machine(device),
        asked=asked,
        image_size=config.preprocess.image_size if config.preprocess else None,
        tokens_per_text=fmean(lengths) if lengths else None,
        precisions=standings,
        rates=rates,
        failures=[
            Failure(**asdict(key), reason=timed.failed)
            for key, timed in calls.items()
            if timed.failed
        ],
        decode=[_decode_rate(name, timed) for name, timed in decoding.items()],
        recommended=[setting for setting in settings if setting is not None],
    )


@dataclass(frozen=True, slots=True)
class _Key:
    library: str
    precision: str
    tower: Tower
    batch: int

    def __str__(self) -> str:
        return f"{self.library}, {self.precision}, {self.tower}s, batch {self.batch}"


def _calls(
    contestants: Sequence[Contestant],
    config: CLIPConfig,
    batches: Sequence[int],
    texts: list[str],
    device: torch.device,
) -> Iterator[tuple[_Key, Timed]]:
    """Those of one tower and batch follow each other: they are what is compared."""

    @cache  # inside the calls: memory may not suffice for the pictures, either
    def pixels(batch: int) -> Tensor:
        return workload.pixels(batch, config.image_input, device)

    def embed_images(contestant: Contestant, batch: int) -> None:
        contestant.images(pixels(batch))
        synchronize(device)

    def embed_texts(contestant: Contestant, batch: int, stream: workload.Stream) -> None:
        contestant.texts(stream.take(batch))
        synchronize(device)

    for batch in batches:
        for one in contestants:
            if config.vision is not None:
                key = _Key(one.library, one.precision, "image", batch)
                yield key, Timed(str(key), partial(embed_images, one, batch))
        for one in contestants:
            if texts:
                key = _Key(one.library, one.precision, "text", batch)
                stream = workload.Stream(texts)
                yield key, Timed(str(key), partial(embed_texts, one, batch, stream))


def _decoding(config: CLIPConfig) -> dict[str, Timed]:
    if config.vision is None:
        return {}

    def decode(one: Callable[[bytes, PreprocessConfig], object]) -> None:
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # as an Embedder does
            list(pool.map(lambda file: one(file, config.image_input), workload.jpegs(_JPEGS)))

    return {
        name: Timed(f"decoding, {name}", partial(decode, one)) for name, one in DECODERS.items()
    }


def _decode_rate(name: str, timed: Timed) -> DecodeRate:
    return DecodeRate(
        decode=name,
        threads=os.cpu_count() or 1,
        per_second=_JPEGS / timed.quantile(0.5),
        low=_JPEGS / timed.quantile(0.75),
        high=_JPEGS / timed.quantile(0.25),
    )


def _rate(key: _Key, timed: Timed, operations: float, ceiling: float | None) -> Rate:
    per_second = key.batch / timed.quantile(0.5)
    return Rate(
        **asdict(key),
        calls=len(timed.seconds),
        per_second=per_second,
        low=key.batch / timed.quantile(0.75),
        high=key.batch / timed.quantile(0.25),
        p50_ms=1e3 * timed.quantile(0.5),
        p99_ms=1e3 * timed.quantile(0.99),
        ceiling_share=operations * per_second / ceiling if ceiling else None,
    )


def _operations(config: CLIPConfig, tower: Tower, lengths: Sequence[int]) -> float:
    """Of one picture, or of the mean text: padding is no work that was asked for."""
    if tower == "image":
        assert config.vision is not None
        return image_cost(config.vision, config.embed_dim).forward
    return fmean(text_cost(config.text_input, config.embed_dim, n).forward for n in lengths)


def _ratio(rate: Rate, rates: Sequence[Rate]) -> float | None:
    """Our rate by this one, if this is a peer's and ours is there."""
    if rate.library == OURS:
        return None
    where = (rate.precision, rate.tower, rate.batch)
    ours = [
        one.per_second
        for one in rates
        if one.library == OURS and (one.precision, one.tower, one.batch) == where
    ]
    return ours[0] / rate.per_second if ours else None


def recommend(
    tower: Tower, rates: Sequence[Rate], standings: Sequence[Standing], price: float | None
) -> Setting | None:
    """The best precision near float32, and the smallest batch that is about as fast.

    None where no precision is near enough, or nothing could be measured.
    """
    near = {one.precision for one in standings if one.cosines[tower] >= GATE}
    fit = [
        rate
        for rate in rates
        if rate.library == OURS and rate.tower == tower and rate.precision in near
    ]
    if not fit:
        return None
    best = max(fit, key=lambda rate: rate.per_second)
    enough = (1 - NEAR) * best.per_second
    chosen = min(
        (rate for rate in fit if rate.precision == best.precision and rate.per_second >= enough),
        key=lambda rate: rate.batch,
    )
    cost = None if price is None else price / _HOUR * _MILLION / chosen.per_second
    return Setting(
        tower=tower,
        precision=chosen.precision,
        batch=chosen.batch,
        per_second=chosen.per_second,
        cost_per_million=cost,
    )


def _machine(device: torch.device) -> dict[str, str | int]:
    return {
        "device": device_name(device),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "twinlens": __version__,
    }
