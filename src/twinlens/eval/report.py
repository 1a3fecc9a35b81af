"""What a report of a measurement shows: accuracies, pictures, classes, each a piece of a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from twinlens.data.images import decode_image
from twinlens.pages import facts, folded, page, percent, section

if TYPE_CHECKING:
    from twinlens.embedder import Prediction
    from twinlens.eval.classification import Classification, ClassResult
    from twinlens.types import ImageInput


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
    return first + folded(f"The other {len(classes) - shown:,} classes", _table(classes[shown:]))


def _table(classes: Sequence[ClassResult]) -> str:
    rows = "".join(
        f"<tr><td>{escape(one.classname)}</td><td>{percent(one.recall)}</td>"
        f"<td>{one.samples:,}</td><td>{escape(one.mistaken_for or '')}</td></tr>"
        for one in classes
    )
    head = "<th>Class</th><th>Recall</th><th>Pictures</th><th>Most often mistaken for</th>"
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead>{rows}</table></div>'


def classification_scores(result: Classification) -> list[Score]:
    """The metrics of a measurement for `scores`."""
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


def classification_page(result: Classification, *, model: str) -> str:
    """The page of one measurement, zero-shot or of a model's own classifier."""
    in_words = bool(result.templates)
    known = "that it was told only in words" if in_words else "of its own classifier"
    lead = (
        f"{model} classifies {result.samples:,} pictures of {result.dataset} among "
        f"{result.classes:,} classes {known}."
    )
    asked: dict[str, object] = {"Model": model, "Data": result.dataset}
    if in_words:
        asked["Language of the class names"] = result.language
        asked["Prompts"] = " · ".join(result.templates)
    asked["Pictures that could not be read"] = len(result.unreadable)
    return page(
        "Zero-shot classification" if in_words else "Classification",
        lead,
        section("Accuracy", scores(classification_scores(result))),
        section("What was asked", facts(asked)),
        section("Classes, worst first", class_table(result.per_class)),
    )
