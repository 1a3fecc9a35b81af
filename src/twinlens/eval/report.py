"""A report as one HTML page: charts, accuracies, pictures and tables, nothing loaded from outside.

Each function returns a piece of HTML; `page` puts pieces together. Text is escaped here.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from twinlens.data.images import decode_image

if TYPE_CHECKING:
    from twinlens.embedder import Prediction
    from twinlens.eval.zero_shot import ClassResult, ZeroShotResult
    from twinlens.types import ImageInput

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 400, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 14, 34


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One accuracy in [0, 1] with its 95% interval, beside what guessing would reach."""

    name: str
    value: float
    interval: tuple[float, float] | None = None
    chance: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture, what the model says of it (best first), and what it is, if that is known."""

    image: ImageInput
    predictions: Sequence[Prediction]
    title: str = ""
    truth: str | None = None


def page(title: str, lead: str, *sections: str) -> str:
    """The whole document."""
    style = files("twinlens").joinpath("assets/report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"<header><h1>{escape(title)}</h1><p>{escape(lead)}</p></header>\n"
        + "\n".join(sections)
        + "\n</main>\n</body>\n</html>\n"
    )


def section(heading: str, *pieces: str, note: str = "") -> str:
    """A headed part of the page."""
    text = f"<p>{escape(note)}</p>" if note else ""
    return f"<section><h2>{escape(heading)}</h2>{text}{''.join(pieces)}</section>"


def facts(values: Mapping[str, object]) -> str:
    """Names and values, such as what was trained, on what, for how long."""
    rows = (
        f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>"
        for name, value in values.items()
    )
    return f'<dl class="facts">{"".join(rows)}</dl>'


def scores(measured: Sequence[Score]) -> str:
    """Accuracies as bars with their intervals, and chance as a mark on each."""
    return f'<div class="scores">{"".join(map(_score, measured))}</div>'


def _score(score: Score) -> str:
    words = [f"<b>{percent(score.value)}</b>"]
    marks = f'<i class="bar" style="width:{100 * score.value:.2f}%"></i>'
    if score.interval is not None:
        low, high = score.interval
        words.append(f"95% interval {percent(low)} to {percent(high)}")
        place = f"left:{100 * low:.2f}%;width:{100 * (high - low):.2f}%"
        marks += f'<i class="interval" style="{place}"></i>'
    if score.chance:
        times = f"{score.value / score.chance:,.0f} times" if score.value else "no better than"
        words.append(f"{times} chance ({percent(score.chance)})")
        marks += f'<i class="chance" style="left:{100 * score.chance:.2f}%"></i>'
    return (
        f'<div class="score"><h3>{escape(score.name)}</h3>'
        f'<div class="track">{marks}</div><p>{", ".join(words)}</p></div>'
    )


def percent(value: float) -> str:
    """A fraction as a percentage, with more digits where it is small.

    Example:
        >>> percent(0.5512), percent(0.0006)
        ('55.1%', '0.06%')
    """
    return f"{100 * value:.1f}%" if value >= 0.01 or value == 0 else f"{100 * value:.2f}%"


def charts(*drawn: str) -> str:
    """Charts side by side where there is room."""
    return f'<div class="charts">{"".join(drawn)}</div>'


def line_chart(points: Points, *, title: str, x_label: str, as_percent: bool = False) -> str:
    """One curve as inline SVG; the last value is written at its end."""
    if not points:
        return ""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    x_ticks, y_ticks = ticks(min(*xs, 0.0), max(xs)), ticks(min(*ys, 0.0), max(ys))
    left, right = min(x_ticks[0], *xs), max(x_ticks[-1], *xs)
    low, high = min(y_ticks[0], *ys), max(y_ticks[-1], *ys)

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - left) / (right - left) * (_WIDTH - _LEFT - _RIGHT)
        up = (y - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)
        return round(_LEFT + across, 1), round(_HEIGHT - _BOTTOM - up, 1)

    write, mark = (percent, _round_percent) if as_percent else (_number, _number)
    grid = "".join(_horizontal(at(left, tick)[1], mark(tick)) for tick in y_ticks)
    feet = "".join(_foot(at(tick, low)[0], _number(tick)) for tick in x_ticks)
    path = " ".join(f"{x},{y}" for x, y in (at(*point) for point in points))
    end_x, end_y = at(*points[-1])
    label = f"{title}: {len(points)} points, the last is {write(ys[-1])}"
    return (
        f"<figure><figcaption>{escape(title)} <b>{write(ys[-1])}</b></figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">'
        f'{grid}{feet}<polyline points="{path}"/><circle cx="{end_x}" cy="{end_y}" r="4"/>'
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 3}" text-anchor="end">{escape(x_label)}</text>'
        "</svg></figure>"
    )


def _horizontal(y: float, text: str) -> str:
    return (
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
        f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{text}</text>'
    )


def _foot(x: float, text: str) -> str:
    return f'<text x="{x}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{text}</text>'


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers from at most `low` to at least `high`.

    Example:
        >>> ticks(0, 7.3)
        [0.0, 2.0, 4.0, 6.0, 8.0]
    """
    span = high - low if high - low > 1e-12 else 1.0
    rough = span / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.10g}") for i in range(first, max(last, first + 1) + 1)]


def _round_percent(value: float) -> str:
    return f"{100 * value:g}%"


def _number(value: float) -> str:
    """Short: 1200 as 1.2k."""
    return f"{value / 1000:g}k" if abs(value) >= 1000 else f"{value:.3g}"


def gallery(pictures: Sequence[Picture]) -> str:
    """Pictures as cards, each with the model's answers as bars."""
    return f'<div class="gallery">{"".join(map(_card, pictures))}</div>'


def _card(picture: Picture) -> str:
    rows = "".join(_prediction(one, picture.truth) for one in picture.predictions)
    title = f"<h3>{escape(picture.title)}</h3>" if picture.title else ""
    alt = escape(picture.truth or picture.title or "picture")
    return (
        f'<article><img src="{data_uri(picture.image)}" alt="{alt}" width="128" height="128">'
        f"<div>{title}<ol>{rows}</ol></div></article>"
    )


def _prediction(one: Prediction, truth: str | None) -> str:
    state = "" if truth is None else (' class="right"' if one.label == truth else ' class="wrong"')
    return (
        f'<li{state}><i style="width:{100 * one.probability:.1f}%"></i>'
        f"<span>{escape(one.label)}</span><b>{percent(one.probability)}</b></li>"
    )


def data_uri(image: ImageInput, size: int = 256) -> str:
    """The picture in the page itself: WebP of at most `size` pixels a side.

    Raises:
        DataError: The picture cannot be decoded.
    """
    small = decode_image(image)
    small.thumbnail((size, size))
    out = io.BytesIO()
    small.save(out, "webp", quality=85)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"


def class_table(classes: Sequence[ClassResult], *, shown: int = 20) -> str:
    """Every class with its recall, worst first; those after the first `shown` fold away."""
    first = _table(classes[:shown])
    if len(classes) <= shown:
        return first
    rest = f"The other {len(classes) - shown:,} classes"
    return f"{first}<details><summary>{rest}</summary>{_table(classes[shown:])}</details>"


def _table(classes: Sequence[ClassResult]) -> str:
    rows = "".join(
        f"<tr><td>{escape(one.classname)}</td><td>{percent(one.recall)}</td>"
        f"<td>{one.samples:,}</td><td>{escape(one.mistaken_for or '')}</td></tr>"
        for one in classes
    )
    head = "<th>Class</th><th>Recall</th><th>Pictures</th><th>Most often mistaken for</th>"
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead>{rows}</table></div>'


def zero_shot_scores(result: ZeroShotResult) -> list[Score]:
    """The metrics of a zero-shot measurement for `scores`."""
    names = {"acc1": "Top-1 accuracy", "acc5": "Top-5 accuracy"}
    return [
        Score(
            name=names.get(key, key.replace("_", " ").capitalize()),
            value=value,
            interval=result.intervals.get(key),
            chance=result.chance.get(key),
        )
        for key, value in result.metrics.items()
    ]


def zero_shot_page(result: ZeroShotResult, *, model: str) -> str:
    """The page of one zero-shot measurement."""
    lead = (
        f"{model} classifies {result.samples:,} pictures of {result.dataset} among "
        f"{result.classes:,} classes that it was told only in words."
    )
    asked = {
        "Model": model,
        "Data": result.dataset,
        "Language of the class names": result.language,
        "Prompts": " · ".join(result.templates),
        "Pictures that could not be read": len(result.unreadable),
    }
    return page(
        "Zero-shot classification",
        lead,
        section("Accuracy", scores(zero_shot_scores(result))),
        section("What was asked", facts(asked)),
        section("Classes, worst first", class_table(result.per_class)),
    )
