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
from twinlens.benchmark.interference import Disturbance, Watch, disturbance
from twinlens.benchmark.precision_costs import embed_pixels, stand
from twinlens.benchmark.records import (
    OURS,
    Asked,
    DecodeRate,
    Failure,
    Rate,
    Speed,
    Tower,
    recommend,
)
from twinlens.benchmark.timing import Timed, time_in_turn
from twinlens.config import CLIPConfig
from twinlens.embed.embedder import Embedder
from twinlens.hardware import usable_cores
from twinlens.images.decode import to_pixels
from twinlens.model.device import device_name, measured_peak, synchronize
from twinlens.model.flops import image_cost, text_cost
from twinlens.model.precision import has_fast_bf16, has_fast_fp16
from twinlens.types import Count

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

_JPEGS = 32


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
        """Images on the device."""
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
        """Images on the device: normalised, encoded, made unit length."""
        return embed_pixels(self.lens, pixels)

    def texts(self, texts: Sequence[str], /) -> object:
        """Strings: tokenised, encoded, made unit length."""
        return self.lens.embed_texts(texts)


def precisions_for(device: torch.device) -> tuple[str, ...]:
    """The precisions that are worth measuring on a device."""
    worth = {
        "fp32": True,
        "bf16": has_fast_bf16(device),
        "fp16": has_fast_fp16(device),
        "int8": device.type == "cpu",
    }
    return tuple(precision for precision in worth if worth[precision])


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

    Images are noise on the device, so that the tower alone counts; texts are strings, and the
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
    watch = Watch()
    found = stand(path, asked.precisions, device, max(asked.batches), progress)
    lenses, standings = [lens for lens, _ in found], [one for _, one in found]
    config, lens = lenses[0].config, lenses[0]
    texts = [] if config.text is None else synthetic_inputs.texts(config.text, lens.tokenizer)
    lengths = [synthetic_inputs.token_count(text, lens.tokenizer) for text in texts]
    contestants = [*map(Ours, lenses), *peers]
    calls = dict(_calls(contestants, config, asked.batches, texts, device))
    decoding, peaks = _decoding(config), _Peaks(asked.precisions, device)
    time_in_turn([*calls.values(), *decoding.values(), *peaks.calls], asked.seconds, progress)
    ceilings = peaks.best()
    rates = [
        _rate(key, timed, _operations(config, key.tower, lengths), ceilings.get(key.precision))
        for key, timed in calls.items()
        if not timed.failed
    ]
    rates = [replace(rate, ratio=_ratio(rate, rates)) for rate in rates]
    towers: dict[Tower, bool] = {"image": config.vision is not None, "text": bool(texts)}
    seen = _disturbance(watch, rates, device)
    settings = [
        recommend(tower, rates, standings, asked.price)
        for tower in towers
        if towers[tower] and not seen.reasons
    ]
    return Speed(
        model=model,
        random_weights=random_weights,
        device=str(device),
        machine=_machine(device),
        asked=asked,
        image_size=config.preprocess.image_size if config.preprocess else None,
        tokens_per_text=fmean(lengths) if lengths else None,
        precisions=standings,
        ceilings=ceilings,
        rates=rates,
        failures=[
            Failure(**asdict(key), reason=timed.failed)
            for key, timed in calls.items()
            if timed.failed
        ],
        decode=[_decode_rate(name, timed) for name, timed in decoding.items() if not timed.failed],
        disturbance=seen,
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

    @cache  # inside the calls: memory may not suffice for the images, either
    def pixels(batch: int) -> Tensor:
        return synthetic_inputs.pixels(batch, config.image_input, device)

    def embed_images(contestant: Contestant, batch: int) -> None:
        contestant.images(pixels(batch))
        synchronize(device)

    def embed_texts(contestant: Contestant, batch: int, stream: synthetic_inputs.Stream) -> None:
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
                stream = synthetic_inputs.Stream(texts)
                yield key, Timed(str(key), partial(embed_texts, one, batch, stream))


def _decoding(config: CLIPConfig) -> dict[str, Timed]:
    if config.vision is None:
        return {}

    def decode(one: Callable[[bytes, PreprocessConfig], object]) -> None:
        files = synthetic_inputs.jpegs(_JPEGS)
        with ThreadPoolExecutor(usable_cores()) as pool:  # as an Embedder does
            list(pool.map(one, files, [config.image_input] * len(files)))

    return {
        name: Timed(f"decoding, {name}", partial(decode, one)) for name, one in DECODERS.items()
    }


class _Peaks:
    """What a matrix product reaches, asked between the other calls; the best counts."""

    def __init__(self, precisions: Sequence[str], device: torch.device) -> None:
        self._found: dict[str, list[float]] = {
            precision: [] for precision in precisions if precision in _DTYPES
        }
        self.calls = [
            Timed(f"matrix product, {precision}", partial(self._ask, precision, device))
            for precision in self._found
        ]

    def _ask(self, precision: str, device: torch.device) -> None:
        self._found[precision].append(measured_peak(device, _DTYPES[precision]))

    def best(self) -> dict[str, float]:
        """By precision; without those that memory did not suffice for."""
        return {precision: max(found) for precision, found in self._found.items() if found}


def _decode_rate(name: str, timed: Timed) -> DecodeRate:
    return DecodeRate(
        decode=name,
        threads=usable_cores(),
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


def _disturbance(watch: Watch, rates: Sequence[Rate], device: torch.device) -> Disturbance:
    """What else went on, by our own rates: another library may have reasons of its own."""
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    return disturbance(watch.others(), threads, [one for one in rates if one.library == OURS])


def _operations(config: CLIPConfig, tower: Tower, lengths: Sequence[int]) -> float:
    """Of one image, or of the mean text: padding is no work that was asked for."""
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


def _machine(device: torch.device) -> dict[str, str | int]:
    return {
        "device": device_name(device),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "twinlens": __version__,
    }
